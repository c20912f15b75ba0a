"""Explore a folder of sounds: embeddings, map, nearest neighbours, search, and an HTML page that shows them."""
