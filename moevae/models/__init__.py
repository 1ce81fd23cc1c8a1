"""The mixture model: gate, experts, dispatch, and the specifications of their layers."""
