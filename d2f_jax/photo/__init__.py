"""One photograph: from any file, with its map, developed, and back into a file; many of them."""
