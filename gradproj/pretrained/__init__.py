"""What the published models and rewards share: files from the hub or a folder, precision, memory, prompt embeddings."""
