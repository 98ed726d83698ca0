"""HTTP in and out: middleware, bodies, replies, streams, logs, metrics."""
