"""Networks of other people's packages, with random weights and without downloads, by PACKAGE/NAME.

What is imported is imported when a network is made: a package that is not there fails by its own
name alone.
"""

# ruff: noqa: PLC0415 - each package takes seconds to import

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

SIZE = (3, 64, 64)


@dataclass(frozen=True)
class Entry:
    """How a network is made, the image that it takes, and its parts where it can't be traced as a
    whole.
    """

    make: Callable[[], nn.Module]
    size: tuple[int, ...] = SIZE
    trace: tuple[str, ...] = ()


def _yolo(name: str) -> nn.Module:
    """A network of ultralytics' from its own yaml."""
    from ultralytics.nn import tasks

    kinds = {
        "-seg": tasks.SegmentationModel,
        "-pose": tasks.PoseModel,
        "-cls": tasks.ClassificationModel,
    }
    kinds["-obb"] = tasks.OBBModel
    kind = next((kind for end, kind in kinds.items() if name.endswith(end)), tasks.DetectionModel)
    return kind(f"{name}.yaml", verbose=False)


def _smp(kind: str, encoder: str, **options: Any) -> nn.Module:
    """A segmentation network of segmentation_models_pytorch."""
    import segmentation_models_pytorch as smp

    return getattr(smp, kind)(encoder, encoder_weights=None, classes=4, **options)


def _monai(kind: str, options: Mapping[str, Any]) -> nn.Module:
    from monai.networks import nets

    return getattr(nets, kind)(**options)


def _transformers(kind: str, options: Mapping[str, Any]) -> nn.Module:
    """A classifier of transformers by its configuration."""
    import transformers

    config = getattr(transformers, f"{kind}Config")(num_labels=10, **options)
    network = getattr(transformers, f"{kind}ForImageClassification")(config)
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear, nn.BatchNorm2d)):
            # Drawn so small that deep networks give the same output for all images.
            module.reset_parameters()
    return network


def _pytorchcv(name: str, **options: Any) -> nn.Module:
    from pytorchcv.model_provider import get_model

    return get_model(name, pretrained=False, **options)


def _facenet(kind: str) -> nn.Module:
    if kind == "InceptionResnetV1":
        from facenet_pytorch import InceptionResnetV1

        return InceptionResnetV1(pretrained=None, classify=True, num_classes=10)
    from facenet_pytorch.models import mtcnn

    return getattr(mtcnn, kind)(pretrained=False)


def _efficientnet(name: str) -> nn.Module:
    from efficientnet_pytorch import EfficientNet

    return EfficientNet.from_name(name)


def _detector(name: str, options: Mapping[str, Any]) -> nn.Module:
    """A whole detector of torchvision's, post-processing and all."""
    from torchvision.models import detection

    return getattr(detection, name)(weights=None, weights_backbone=None, num_classes=5, **options)


YOLOS = """
yolov8n yolov8n-seg yolov8n-pose yolov8n-cls yolov8n-obb yolov8n-ghost yolov8n-p2 yolo11n
yolo11n-seg yolo11n-pose yolo11n-cls yolo11n-obb yolov5n yolov3-tiny yolov6n yolov9t yolov10n
yolo12n yolo26n
""".split()  # noqa: SIM905 - one name a line
SMPS = (
    "Unet",
    "UnetPlusPlus",
    "FPN",
    "PSPNet",
    "DeepLabV3",
    "DeepLabV3Plus",
    "Linknet",
    "MAnet",
    "PAN",
    "UPerNet",
)
ENCODERS = (
    "mobilenet_v2",
    "vgg11_bn",
    "densenet121",
    "efficientnet-b0",
    "se_resnet50",
    "resnext50_32x4d",
    "xception",
)
PLANE = {"spatial_dims": 2, "in_channels": 3, "out_channels": 4}
WIDTHS = {"channels": (16, 32, 64), "strides": (2, 2)}
KERNELS = {"kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2]}
MONAIS: dict[str, tuple[str, dict[str, Any]]] = {
    "unet": ("UNet", {**PLANE, **WIDTHS}),
    "unet_residual": ("UNet", {**PLANE, **WIDTHS, "num_res_units": 2, "norm": "batch"}),
    "basic_unet": ("BasicUNet", PLANE),
    "attention_unet": ("AttentionUnet", {**PLANE, **WIDTHS}),
    "segresnet": ("SegResNet", {**PLANE, "init_filters": 16}),
    "dynunet": ("DynUNet", {**PLANE, **KERNELS}),
    "flexible_unet": (
        "FlexibleUNet",
        {"in_channels": 3, "out_channels": 4, "backbone": "resnet18"},
    ),
    "densenet121": ("DenseNet121", PLANE),
    "efficientnet": (
        "EfficientNetBN",
        {"model_name": "efficientnet-b0", "pretrained": False, "num_classes": 4},
    ),
    "seresnet50": ("SEResNet50", {"spatial_dims": 2, "in_channels": 3, "num_classes": 4}),
    "highresnet": ("HighResNet", PLANE),
}
VOLUME = {**PLANE, "spatial_dims": 3, "in_channels": 1}
MONAIS_3D: dict[str, tuple[str, dict[str, Any]]] = {
    "unet3d": ("UNet", {**VOLUME, **WIDTHS}),
    "vnet": ("VNet", {"spatial_dims": 3, "in_channels": 1, "out_channels": 2}),
    "segresnet3d": ("SegResNet", {**VOLUME, "init_filters": 8}),
}
HUGGING: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet18": (
        "ResNet",
        {"depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512], "layer_type": "basic"},
    ),
    "resnet50": ("ResNet", {}),
    "regnet": (
        "RegNet",
        {"depths": [1, 2, 2, 1], "hidden_sizes": [32, 64, 128, 256], "groups_width": 16},
    ),
    "convnext": ("ConvNext", {"depths": [1, 1, 2, 1], "hidden_sizes": [32, 64, 128, 256]}),
    "convnextv2": ("ConvNextV2", {"depths": [1, 1, 2, 1], "hidden_sizes": [32, 64, 128, 256]}),
    "mobilenet_v1": ("MobileNetV1", {"depth_multiplier": 0.5}),
    "mobilenet_v2": ("MobileNetV2", {"depth_multiplier": 0.5}),
    "efficientnet": (
        "EfficientNet",
        {"width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280},
    ),
    "levit": ("Levit", {"image_size": 64}),
    "bit": ("Bit", {"depths": [1, 1, 2, 1]}),
    "poolformer": ("PoolFormer", {"depths": [1, 1, 2, 1]}),
    "swiftformer": ("SwiftFormer", {"depths": [1, 1, 2, 1]}),
    "focalnet": ("FocalNet", {"image_size": 64, "depths": [1, 1, 2, 1], "embed_dim": 32}),
    "mobilevit": ("MobileViT", {"image_size": 64}),
    "textnet": ("TextNet", {}),
}
PYTORCHCV = """
alexnet zfnet bn_vgg11 bninception resnet10 preresnet10 resnext14_16x4d seresnet10 senet16
resnestabc14 ibn_resnet50 bam_resnet18 cbam_resnet18 sknet50 scnet50 regnetx002 regnety002
diaresnet10 diracnet18v2 densenet121 condensenet74_c4_g4 sparsenet121 peleenet drnd22 dpn68
darknet_tiny darknet53 revnet38 bagnet9 dla34 espnetv2_wd2 hrnet_w18_small_v1 vovnet27s selecsls42
hardnet39ds squeezenet_v1_0 squeezeresnet_v1_1 sqnxt23_w1 shufflenet_g3_wd4 shufflenetv2_wd2
menet108_8x1_g3 mobilenet_wd4 fdmobilenet_wd4 mobilenetv2_wd4 mobilenetv3_small_w7d20 igcv3_wd4
ghostnet mnasnet_small proxylessnas_cpu fbnet_cb efficientnet_b0 mixnet_s octresnet10_ad2 resneta10
xdensenet121_2
""".split()  # noqa: SIM905 - one name a line
CIFAR = (
    "nin_cifar10",
    "resnet20_cifar10",
    "densenet40_k12_cifar10",
    "rir_cifar10",
    "xdensenet40_2_k24_bc_cifar10",
)
POSES = ("simplepose_resnet18_coco", "simplepose_mobile_mobilenet_w1_coco")
SCENES = (
    "lednet_cityscapes",
    "erfnet_cityscapes",
    "enet_cityscapes",
    "bisenet_resnet18_celebamaskhq",
)
RCNN = {"rpn_pre_nms_top_n_test": 20, "rpn_post_nms_top_n_test": 10, "box_score_thresh": 0.0}
SMALL = {"min_size": 64, "max_size": 64}

NETWORKS = {
    **{f"ultralytics/{name}": Entry(partial(_yolo, name)) for name in YOLOS},
    **{f"smp/{name.lower()}-resnet18": Entry(partial(_smp, name, "resnet18")) for name in SMPS},
    **{f"smp/unet-{name}": Entry(partial(_smp, "Unet", name)) for name in ENCODERS},
    "smp/pan-resnet18": Entry(partial(_smp, "PAN", "resnet18"), (3, 128, 128)),
    "smp/segformer-mit_b0": Entry(partial(_smp, "Segformer", "mit_b0")),
    **{f"monai/{name}": Entry(partial(_monai, *given)) for name, given in MONAIS.items()},
    **{
        f"monai/{name}": Entry(partial(_monai, *given), (1, 32, 32, 32))
        for name, given in MONAIS_3D.items()
    },
    **{
        f"transformers/{name}": Entry(partial(_transformers, *given))
        for name, given in HUGGING.items()
    },
    **{f"pytorchcv/{name}": Entry(partial(_pytorchcv, name), (3, 224, 224)) for name in PYTORCHCV},
    **{f"pytorchcv/{name}": Entry(partial(_pytorchcv, name), (3, 32, 32)) for name in CIFAR},
    **{
        f"pytorchcv/{name}": Entry(
            partial(_pytorchcv, name), (3, 256, 192), ("backbone", "decoder")
        )
        for name in POSES
    },
    **{
        f"pytorchcv/{name}": Entry(partial(_pytorchcv, name, in_size=(128, 128)), (3, 128, 128))
        for name in SCENES
    },
    "pytorchcv/centernet_resnet18_voc": Entry(
        partial(_pytorchcv, "centernet_resnet18_voc", in_size=(128, 128)),
        (3, 128, 128),
        ("backbone", "decoder"),
    ),
    "facenet/inception_resnet_v1": Entry(partial(_facenet, "InceptionResnetV1"), (3, 96, 96)),
    "facenet/pnet": Entry(partial(_facenet, "PNet"), (3, 24, 24)),
    "facenet/rnet": Entry(partial(_facenet, "RNet"), (3, 24, 24)),
    "facenet/onet": Entry(partial(_facenet, "ONet"), (3, 48, 48)),
    "efficientnet_pytorch/b0": Entry(partial(_efficientnet, "efficientnet-b0")),
    "efficientnet_pytorch/b1": Entry(partial(_efficientnet, "efficientnet-b1")),
    "detection/ssdlite320_mobilenet_v3_large": Entry(
        partial(_detector, "ssdlite320_mobilenet_v3_large", {}), (3, 320, 320), ("backbone", "head")
    ),
    "detection/retinanet_resnet50_fpn": Entry(
        partial(_detector, "retinanet_resnet50_fpn", {**SMALL, "topk_candidates": 20}),
        SIZE,
        ("backbone", "head"),
    ),
    "detection/fcos_resnet50_fpn": Entry(
        partial(_detector, "fcos_resnet50_fpn", {**SMALL, "topk_candidates": 20}),
        SIZE,
        ("backbone", "head"),
    ),
    "detection/fasterrcnn_mobilenet_v3_large_320_fpn": Entry(
        partial(_detector, "fasterrcnn_mobilenet_v3_large_320_fpn", {**SMALL, **RCNN}),
        SIZE,
        ("backbone", "rpn.head", "roi_heads.box_head", "roi_heads.box_predictor"),
    ),
}
