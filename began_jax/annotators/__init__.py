"""Perfect aspect generators T (table 1): from a picture to its annotation, by other means than a latent."""
