"""Package metadata, entry points and the direct dependencies, each with its reason. pyproject.toml holds tool settings only.

Exact versions of everything stand in requirements/*.lock, which `make lock` derives from the lists below.
"""

from setuptools import find_packages, setup

RUNTIME = [
    "torch>=2.11,<2.14",  # models and training; torch 2.(X+5) goes with torchrec 1.X and fbgemm 1.X
    "torchrec>=1.6,<1.9",  # sharded embedding tables
    "torchx>=0.7,<0.8",  # launches one job per day, on this machine or on a cluster
    "iopath>=0.1.10",  # paths that may be remote (s3://...)
    "tensorboard>=2.21",  # training curves; older ones break with setuptools 82 and newer
    "numpy>=2",  # the shards
    "numba>=0.62",  # the byte parser of raw logs
    "isal>=1.8",  # .gz logs, at three times the speed of Python's own gzip
    "zstandard>=0.23",  # .zst logs
    "pyarrow>=22",  # CSV and Parquet of any table, a batch at a time, with the lines it refuses
    "pydantic>=2.11",  # validation of configs and schemas
    "tomli-w>=1.2",  # the resolved config of a run, as TOML
    "rich>=14",  # progress and tables in the terminal
    "matplotlib>=3.10",  # figures of the report
    "jinja2>=3.1",  # the report page
    "shtab>=1.7",  # completion for shells
    "setuptools>=78",  # the editable install, without network
    "urllib3<1.27",  # what torchx 0.7 can work with
]

# One of these two, never both: they install the same files. torchrec itself asks for fbgemm-gpu, whose import fails on a
# machine without CUDA; that is why everything is installed with `pip install --no-deps -r requirements/<device>.lock`.
DEVICE = {
    "cpu": ["fbgemm-gpu-cpu>=1.6,<1.9"],
    "cuda": ["fbgemm-gpu>=1.6,<1.9"],
}

DEVELOPMENT = [
    "pytest>=9",  # tests
    "pytest-xdist>=3.8",  # on all cores: in one process the suite takes most of twenty minutes
    "hypothesis>=6.130",  # tests over generated input
    "scikit-learn>=1.7",  # an independent AUC and log loss to test ours against
    "ruff>=0.14",  # lint and format
    "mypy>=1.18",  # types
    "sphinx>=9",  # docs/ as pages, without network: `make docs`
    "myst-parser>=5",  # the Markdown of docs/, for Sphinx
    "furo>=2025.9",  # their look, light and dark, wide and narrow
    "kubernetes>=31,<36",  # TorchX makes requests to a cluster with it, and tests read them, without a cluster; 36 brings aiohttp
]

# Only measured against: benchmarks/data_prep.py says when it is missing.
BENCHMARKS = [
    "polars>=1.34",  # the quickest way to do the same work with tables
]

setup(
    name="recsys-nas",
    version="0.1.0",
    description="Architecture search for click-through-rate models, one job per day of logs",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(
        include=[f"{name}{tail}" for name in ("data_prep", "embeddings", "recsys_nas", "launch") for tail in ("", ".*")]
    ),
    package_data={"": ["*.html", "*.css", "*.j2"]},
    install_requires=RUNTIME,
    extras_require={**DEVICE, "dev": DEVELOPMENT, "benchmarks": BENCHMARKS},
    entry_points={
        "console_scripts": ["recsys-nas = recsys_nas.cli:main", "data-prep = data_prep.cli:main"],
        # The function `py` of launch/search.py becomes the component `launch/search.py`, and so with the others. Registering any component
        # hides TorchX's own, so its package is registered again; a name that starts with "_" adds no prefix.
        "torchx.components": [
            *(f"launch/{name} = launch.{name}" for name in ("prep", "search", "retrain", "compare", "pipeline")),
            "_torchx = torchx.components",
        ],
        "torchx.named_resources": [
            "8xh100 = launch.resources:node_8xh100",
            "8xa100 = launch.resources:node_8xa100",
            "1xgpu = launch.resources:one_gpu",
            "cpu_small = launch.resources:cpu_small",
        ],
    },
)
