"""The objective family and its terms: bounds, routing, load balancing and consistency."""
