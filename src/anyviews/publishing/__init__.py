"""Publishing checkpoints on the Hugging Face Hub, with the code that people without this package need to load them."""
