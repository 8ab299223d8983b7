"""Terms that sentences interpolate."""

from bot.i18n import N_

TERMS = (
    N_("job"), N_("picture"), N_("collection"), N_("key"), N_("person"), N_("webhook"), N_("MiB"), N_("megapixels"),
    *(N_("queued"), N_("running"), N_("rendered"), N_("delivered"), N_("failed"), N_("cancelled"), N_("dead")),
    *(N_("text-to-image"), N_("image-to-image"), N_("image-text-to-image"), N_("image-to-text")),
    *(N_("image-segmentation"), N_("depth-estimation"), N_("keypoint-detection"), N_("image-upscaling")),
    *(N_("visual-question-answering"), N_("image-text-to-text"), N_("zero-shot-image-classification"), N_("demo")),
)  # fmt: skip
