"""The networks of the paper, their weights, and what bounds their memory."""
