"""Tiny depth and pose models with random weights, in the layout of Transformers."""

import torch
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    DPTConfig,
    DPTForDepthEstimation,
    DPTImageProcessorPil,
    RTDetrConfig,
    RTDetrForObjectDetection,
    RTDetrImageProcessorPil,
    RTDetrResNetConfig,
    VitPoseBackboneConfig,
    VitPoseConfig,
    VitPoseForPoseEstimation,
    VitPoseImageProcessorPil,
)


def save_depth_anything(folder, *, is_metric=False):
    torch.manual_seed(0)
    backbone = Dinov2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
        mlp_ratio=2,
        out_features=["stage1", "stage2"],
        reshape_hidden_states=False,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=16,
        neck_hidden_sizes=[8, 8],
        reassemble_factors=[2, 1],
        fusion_hidden_size=8,
        head_hidden_size=8,
        depth_estimation_type="metric" if is_metric else "relative",
    )
    return _save_depth(folder, DepthAnythingForDepthEstimation(config), 56, keep_aspect_ratio=True)


def save_dpt(folder):
    torch.manual_seed(0)
    config = DPTConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=16,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        use_auxiliary_head=False,
        is_hybrid=False,
    )
    return _save_depth(folder, DPTForDepthEstimation(config), 32, keep_aspect_ratio=False)


def _save_depth(folder, model, side, *, keep_aspect_ratio):
    for name, weight in model.head.named_parameters():  # random heads end in a ReLU that is 0 everywhere
        torch.nn.init.constant_(weight, 0.5) if name.endswith("bias") else weight.data.mul_(20)
    model.eval().save_pretrained(folder)
    multiple = 14 if keep_aspect_ratio else 1
    size = {"height": side, "width": side}
    processor = DPTImageProcessorPil(size=size, keep_aspect_ratio=keep_aspect_ratio, ensure_multiple_of=multiple)
    processor.save_pretrained(folder)
    return model, processor


def save_pose(folder, *, experts=1, joints=17):
    torch.manual_seed(0)
    backbone = VitPoseBackboneConfig(
        image_size=[64, 48],
        patch_size=[16, 16],
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        mlp_ratio=2,
        num_experts=experts,
        part_features=8 if experts > 1 else 0,
    )
    config = VitPoseConfig(backbone_config=backbone, num_labels=joints, scale_factor=4, use_simple_decoder=True)
    model = VitPoseForPoseEstimation(config).eval()
    model.save_pretrained(folder)
    VitPoseImageProcessorPil(size={"height": 64, "width": 48}).save_pretrained(folder)
    return model


def save_person_detector(folder, *, label="person"):
    torch.manual_seed(0)
    backbone = RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 8, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = RTDetrConfig(
        backbone_config=backbone,
        encoder_hidden_dim=16,
        encoder_in_channels=[8, 8, 16],
        encoder_ffn_dim=16,
        encoder_attention_heads=2,
        d_model=16,
        num_queries=20,
        decoder_in_channels=[16, 16, 16],
        decoder_ffn_dim=16,
        decoder_layers=1,
        decoder_attention_heads=2,
        num_denoising=0,
        id2label={0: label, 1: "cat"},
        label2id={label: 0, "cat": 1},
    )
    model = RTDetrForObjectDetection(config).eval()
    model.save_pretrained(folder)
    processor = RTDetrImageProcessorPil(size={"height": 64, "width": 64})
    processor.save_pretrained(folder)
    return model, processor
