"""Images made in tiles: seamless textures, large images, and the autoencoder on little memory."""
