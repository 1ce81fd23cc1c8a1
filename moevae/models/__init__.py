"""The mixture: gate, experts, dispatch, and which layers they are made of."""
