"""Write what follows from the .proto files: ``.venv/bin/python proto/generate.py``.

The package's modules are below ``millrace.api.ingestion``, which protoc, going by the files' paths,
can't know: imports are made to fit.
"""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory

from grpc_tools import protoc

HERE = Path(__file__).parent
SOURCE = Path("millrace") / "ingestion" / "v1"
TARGET = HERE.parent / "include" / "millrace" / "api" / "ingestion" / "v1"


def contents() -> dict[str, str]:
    """Return what each generated file holds, by its name. Raises ``RuntimeError``."""
    with TemporaryDirectory() as folder:
        arguments = [
            "protoc",
            f"--proto_path={HERE}",
            f"--proto_path={resources.files('grpc_tools') / '_proto'}",
            f"--python_out={folder}",
            f"--pyi_out={folder}",
            f"--grpc_python_out={folder}",
            *(str(path) for path in sorted((HERE / SOURCE).glob("*.proto"))),
        ]
        if protoc.main(arguments) != 0:
            raise RuntimeError("protoc refused the files; it has said why")
        return {
            path.name: path.read_text().replace(
                "from millrace.ingestion.v1 import", "from millrace.api.ingestion.v1 import"
            )
            for path in sorted((Path(folder) / SOURCE).iterdir())
        }


if __name__ == "__main__":
    for name, text in contents().items():
        (TARGET / name).write_text(text)
        sys.stdout.write(f"wrote {(TARGET / name).relative_to(HERE.parent)}\n")
