"""Speed, memory and start-up, each beside another side measured in the same rounds."""
