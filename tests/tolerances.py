"""Every tolerance of the tests in one place, so that none is loosened unseen."""

GOLDEN_RENDER = 2e-5  # absolute, images against the released renderer
GOLDEN_GRADIENT = 1e-4  # relative in norm
GOLDEN_NETWORK = 1e-4  # absolute, maps and images of single networks
GOLDEN_PIPELINE = 2e-4  # absolute, every field of the pipeline
TWIN = 1e-5  # absolute, a fast function against its slow twin in float32
EXACT = 1e-6  # absolute, closed forms in float32
BFLOAT16 = 0.02  # absolute, bfloat16 inputs against float32
FINITE_DIFFERENCE = 1e-3  # relative, gradients against central differences
