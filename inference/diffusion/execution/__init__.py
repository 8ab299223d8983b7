"""What runs a denoiser's forward pass: attention kernels, torch.compile, and compiled builds of other backends."""
