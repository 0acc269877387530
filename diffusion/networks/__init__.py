"""The networks: U-Nets, transformers, what conditions them, and what stands in for an autoencoder."""
