"""What is in an image: a bill of materials (CycloneDX 1.5, JSON) and a manifest. The same input, the same text."""

import hashlib
import json
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

from imaging.disk import NAMESPACE
from imaging.locking import Lock, Package, Wheel


def bill(lock: Lock, board: str, version: str, commit: str) -> str:
    """Every package of the root and of the boot partition, with version, hash and purl."""
    components = [
        *(_debian(package) for package in lock.packages if {"root", "boot"} & set(package.groups)),
        *(_python(wheel) for wheel in lock.wheels if wheel.group in ("root", "source")),
    ]
    identity = uuid.uuid5(NAMESPACE, f"{board} {commit} {lock.digest}")
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{identity}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "firmware",
                "bom-ref": "portero",
                "name": f"portero-{board}",
                "version": version,
                "properties": [{"name": "portero:commit", "value": commit}],
            }
        },
        "components": components,
    }
    return json.dumps(document, indent=1) + "\n"


def manifest(values: dict[str, Any], files: dict[str, Path]) -> str:
    """`values`, and size and SHA-256 of each file."""
    listed = {name: {"bytes": file.stat().st_size, "sha256": _sha256(file)} for name, file in files.items()}
    return json.dumps({**values, "files": listed}, indent=1) + "\n"


def _debian(package: Package) -> dict[str, Any]:
    architecture = package.file.rsplit("_", 1)[1].removesuffix(".deb")
    purl = f"pkg:deb/debian/{quote(package.name)}@{quote(package.version)}?arch={architecture}&distro=trixie"
    return _component(package.name, package.version, purl, package.sha256)


def _python(wheel: Wheel) -> dict[str, Any]:
    return _component(
        wheel.name, wheel.version, f"pkg:pypi/{quote(wheel.name)}@{quote(wheel.version)}", wheel.sha256
    )


def _component(name: str, version: str, purl: str, sha256: str) -> dict[str, Any]:
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": sha256}],
    }


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
