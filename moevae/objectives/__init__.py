"""The objective family and its parts: bounds, routing, load balancing, consistency."""
