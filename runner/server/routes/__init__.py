"""HTTP routes: each module serves one resource."""
