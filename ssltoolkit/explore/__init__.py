"""A folder of sounds as something one can see, hear and search: embeddings, map, neighbours, and a page that shows them."""
