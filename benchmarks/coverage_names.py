"""The networks of network_coverage.py: of torchvision, timm, other packages and peers' tests."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec

LISTS = ("torchvision", "timm", "packages", "peers")
PACKAGES = {  # under what name each is imported
    "ultralytics": "ultralytics",
    "smp": "segmentation_models_pytorch",
    "monai": "monai",
    "transformers": "transformers",
    "pytorchcv": "pytorchcv",
    "facenet": "facenet_pytorch",
    "efficientnet_pytorch": "efficientnet_pytorch",
    "detection": "torchvision",
}
CONVNETS = """
mobileone_s1 gernet_s repvgg_a0 regnetz_b16 resnext26ts eca_resnext26ts seresnext26ts gcresnext26ts
bat_resnext26ts regnetz_c16 repvgg_b0 resnet32ts eca_resnet33ts seresnet33ts convmixer_768_32
convmixer_1024_20_ks9_p14 convmixer_1536_20 convnext_zepto_rms convnext_zepto_rms_ols
convnext_atto_rms convnext_atto convnext_atto_ols convnextv2_atto convnext_femto convnext_femto_ols
convnext_pico convnext_pico_ols convnext_nano convnext_nano_ols convnext_tiny convnext_tiny_hnf
convnextv2_nano cs3darknet_focus_s cs3darknet_s darknet17 cspresnext50 darknet21 sedarknet21
cspresnet50 cspdarknet53 darknetaa53 cspnext_tiny cspnext_s cspnext_m cspnext_l cspnext_x
densenet121 densenetblur121d densenet169 densenet201 densenet161 dla46x_c dla46_c dla60x_c dla34
dla60_res2next dla60x dpn48b dpn68 dpn68b dpn92 mobilenetv2_035 mnasnet_small tinynet_e
semnasnet_050 mnasnet_050 tinynet_d tinynet_c tinynet_b mobilenet_edgetpu_100 mixnet_s spnasnet_100
mobilenet_edgetpu_v2_xs efficientnet_lite0 mixnet_m efficientnet_b0 mobilenetv2_100 fasternet_t0
fasternet_t1 fasternet_t2 fasternet_s fasternet_m fastvit_t8 fastvit_s12 focalnet_tiny_srf
focalnet_tiny_lrf focalnet_small_srf focalnet_small_lrf ghostnet_050 ghostnetv3_050 ghostnet_100
ghostnetv2_100 ghostnet_130 ghostnetv3_100 hardcorenas_b hardcorenas_a hardcorenas_c hardcorenas_d
hardcorenas_e hardcorenas_f hgnetv2_b0 hgnetv2_b1 hgnetv2_b2 hgnet_tiny hgnetv2_b3 hgnet_small
hrnet_w18_small hrnet_w18_small_v2 hrnet_w18 hrnet_w30 hrnet_w32 hrnet_w40 inception_next_atto
inception_next_tiny inception_next_small inception_resnet_v2 inception_v3 inception_v4 lcnetv2_small
lcnetv2_base lcnetv2_large mambaout_femto mambaout_kobe mambaout_tiny mambaout_small
mambaout_small_rw poolformerv2_s12 poolformer_s12 poolformerv2_s24 poolformer_s24 convformer_s18
poolformer_m36 convformer_m36 mobilenetv3_small_050 lcnet_035 lcnet_050 mobilenetv4_conv_small_035
mobilenetv3_small_075 mobilenetv4_conv_small_050 lcnet_075 mobilenetv3_small_100 lcnet_100
mobilenetv4_conv_small lcnet_150 fbnetv3_b fbnetv3_d fbnetv3_g mobilenetv3_large_100 nasnetalarge
nf_regnet_b0 nf_regnet_b1 nf_regnet_b2 nf_resnet26 nf_ecaresnet26 nf_seresnet26 eca_nfnet_l0
nf_resnet50 nf_ecaresnet50 nf_seresnet50 nfnet_l0 eca_nfnet_l1 nf_resnet101 nf_ecaresnet101
pnasnet5large rdnet_tiny rdnet_small regnetx_002 regnety_002 regnety_004 regnetx_004 regnety_006
regnetx_006 regnety_008 regnetz_005 regnetx_008 regnetx_016 regnetv_040 regnetz_040 regnetz_040_h
regnetv_064 repghostnet_050 repghostnet_058 repghostnet_080 repghostnet_100 repghostnet_111
repghostnet_130 repvit_m1 repvit_m0_9 repvit_m1_0 repvit_m2 repvit_m1_1 repvit_m3 res2next50
res2net50_14w_8s res2net50_48w_2s res2net50_26w_4s res2net50d res2net50_26w_6s resnest14d resnest26d
resnest50d_1s4x24d resnest50d resnest50d_4s2x40d resnest101e resnet10t resnet14t resnetblur18
seresnet18 ecaresnext26t_32x4d ecaresnet26t seresnext26t_32x4d seresnext26d_32x4d resnetaa34d
seresnet34 resnext50_32x4d seresnetaa50d ecaresnetlight resnetrs50 resnet18 resnet50 resnetv2_18
resnetv2_18d resnetv2_34 resnetv2_34d resnetv2_50 resnetv2_50x1_bit resnetv2_50t resnetv2_50d
resnetv2_50d_gn rexnet_100 rexnetr_100 rexnet_130 rexnetr_130 rexnet_150 rexnetr_150 selecsls42
selecsls60 selecsls42b selecsls60b selecsls84 legacy_seresnet18 legacy_seresnext26_32x4d
legacy_seresnet34 legacy_seresnext50_32x4d legacy_seresnet50 legacy_seresnext101_32x4d skresnet18
skresnet34 skresnet50 skresnet50d skresnext50_32x4d starnet_s050 starnet_s100 starnet_s150
starnet_s1 starnet_s2 starnet_s3 tresnet_m tresnet_v2_l tresnet_l vgg11 ese_vovnet19b_slim_dw
ese_vovnet19b_slim ese_vovnet19b_dw vovnet39a eca_vovnet39b vovnet57a legacy_xception xception41p
xception41 xception65p xception65 xception71
""".split()  # noqa: SIM905 - one name a line would be 300 lines


HYBRIDS = """
caformer_s18 halonet_h1 eca_botnext26ts_256 coat_tiny coat_lite_tiny cpubone_nano cpubone_t0 csatv2
csatv2_21m edgenext_xx_small edgenext_x_small efficientformer_l1 efficientformer_l3
efficientformerv2_s0 efficientformerv2_s1 efficientvim_m1 efficientvim_m2 efficientvit_b0
efficientvit_l1 efficientvit_m0 efficientvit_m1 gcvit_xxtiny gcvit_xtiny iformer_t iformer_s
levit_128s levit_128 lowformer_b0 lowformer_e1 maxvit_pico_rw_256 maxvit_rmlp_pico_rw_256
mobilenetv5_base mobilevit_xxs mobilevitv2_050 nextvit_small nextvit_base pvt_v2_b0 pvt_v2_b1
shvit_s1 shvit_s2 swiftformer_xs swiftformer_s tiny_vit_5m_224 tiny_vit_11m_224 visformer_tiny
visformer_small vit_tiny_r_s16_p8_224 vit_small_r26_s32_224 vitamin_small_224
""".split()  # noqa: SIM905 - one name a line would be 300 lines


def all_names(lists: Sequence[str]) -> Iterator[str]:
    """Every network of the lists: torchvision's own, timm's as chosen above, other packages' and
    peers'.

    Packages that are not installed are passed over.
    """
    from named_networks import networks  # noqa: PLC0415 - takes seconds
    from torchvision_here import import_torchvision  # noqa: PLC0415

    if "torchvision" in lists:
        import_torchvision()
        from torchvision import models  # noqa: PLC0415

        found = [
            *models.list_models(module=models),
            *models.list_models(module=models.segmentation),
        ]
        yield from (f"torchvision/{name}" for name in found)
    if "timm" in lists:
        yield from (f"timm/{name}" for name in (*CONVNETS, *HYBRIDS))
    if "packages" in lists:
        yield from (
            net
            for net in networks("package_networks")
            if find_spec(PACKAGES[net.partition("/")[0]])
        )
    if "peers" in lists:
        yield from (f"peers/{name}" for name in networks("peer_networks"))
