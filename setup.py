"""Packaging of anyviews: what it needs, and the one place where folders become the package."""

from pathlib import Path

from setuptools import find_packages, setup


CORE = [
    "torch>=2.11",
    "diffusers>=0.42,<0.44",  # src/anyviews/diffusers_registry.py relies on its component resolution
    "transformers>=5.20,<6",
    "accelerate>=1.15",
    "peft>=0.21",
    "datasets>=5.2",
    "filelock>=3.12",
    "fsspec>=2024.2",
    "pyarrow>=21",
    "huggingface-hub>=2.4",
    "safetensors>=0.6",
    "jaxtyping>=0.3",
    "numpy>=1.26",
    "scipy>=1.12",
    "packaging>=24",
    "pillow>=10.1",
    "numba>=0.62",  # the Gaussian rasteriser on the CPU
    "gsply>=0.4.6",  # .spz and compressed ply
    "scikit-image>=0.25",  # marching cubes
    "trimesh>=4.5",  # glb, obj
    "av>=14",  # mp4
    "pyyaml>=6",
    "poselib>=2.0.5",  # camera poses from points
    "xatlas>=0.0.9",  # texture coordinates
    "fast-simplification>=0.1.9",
]

EXTRAS = {
    "train": ["torchdata>=0.11", "tensorboard>=2.16", "jinja2>=3.1"],
    "evaluate": ["evaluate>=0.4.6"],
    "gsplat": ["gsplat>=1.5.3"],
    "data": ["mitsuba>=3.6", "openexr>=3.3", "h5py>=3.10"],  # meshes into samples; .exr files; HDF5 indices
    "xformers": ["xformers>=0.0.30"],
    "usdz": ["usd-core>=25.5"],
    "matting": ["rembg[cpu]>=2.0.60"],  # masks of photos without alpha
    "viewer": ["viser>=1.1"],
    "app": ["gradio>=6.0"],
}
EXTRAS["dev"] = [
    *EXTRAS["train"],
    *EXTRAS["evaluate"],
    *EXTRAS["data"],
    *EXTRAS["usdz"],
    *EXTRAS["viewer"],
    *EXTRAS["app"],
    "beartype>=0.20",
    "build>=1.2",
    "gsplat>=1.5.3",  # its PyTorch code is an oracle in tests; its kernels need CUDA
    "hypothesis>=6.100",
    "imageio-ffmpeg>=0.6",
    "import-linter>=2.1",
    "pycolmap>=3.12",
    "pytest>=8",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
    "ruff>=0.12",
]

setup(
    name="anyviews",
    version="0.1.0",
    description="Feed-forward 3D from photos as ordinary Hugging Face models and pipelines",
    long_description=Path("README.md").read_text(encoding="utf-8") if Path("README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    install_requires=CORE,
    extras_require=EXTRAS,
    package_dir={"": "src", "anyviews.pipelines": "pipelines"},
    packages=[*find_packages("src"), "anyviews.pipelines"],
    package_data={"anyviews": ["py.typed", "formats/viewer/*"]},
    entry_points={"console_scripts": ["anyviews=anyviews.cli.main:main"]},
)
