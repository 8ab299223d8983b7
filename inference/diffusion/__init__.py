"""The engine for Diffusers pipelines: text-to-image, image-to-image, inpainting and editing."""
