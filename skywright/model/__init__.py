"""Models: their shape, forward pass, loss, FLOP counts, and Hugging Face folders."""
