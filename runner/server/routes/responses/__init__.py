"""The Responses API: over HTTP, whole, streamed or in the background, and over a WebSocket."""
