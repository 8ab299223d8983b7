"""What guides a denoiser besides the prompt: ControlNets, T2I-Adapters, and references through IP-Adapters."""
