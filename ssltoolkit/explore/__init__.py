"""See, hear and search a folder of sounds: embeddings, map, neighbours, and a page that shows them."""
