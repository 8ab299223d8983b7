"""Compiled modules that compute in place of torch's: OpenVINO, ONNX Runtime."""
