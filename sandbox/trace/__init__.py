"""What snippets tried and were refused, put together from what init, host and guest say."""
