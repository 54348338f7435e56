"""Code that all our long-running programs share."""
