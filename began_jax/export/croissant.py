"""What a generated data set is, for programs: OUT/croissant.json, in MLCommons' Croissant 1.0 (JSON-LD).

`mlcroissant` and what is built on it (dataset searches, loaders) read it. Sums are of the small files alone.
"""

import hashlib
from typing import Any

from began_jax.export.content import Content
from began_jax.export.dataset import FORMS

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
CITE = (
    "Bazrafkan, Javidnia and Corcoran (2018), Latent space mapping for generation of object elements with "
    "corresponding data annotation, Pattern Recognition Letters, doi:10.1016/j.patrec.2018.10.025"
)
# The terms of the format, as its specification gives them.
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def document(content: Content, plural: str) -> dict[str, Any]:
    """Return the metadata of a data set: its files, and records of pictures and of annotations that are tables.

    Args:
        content: the data set.
        plural: name of its annotations.
    """
    told, ending = content.told, FORMS[content.form][0]
    files = [_set("image-files", f"images/*{ending}", f"image/{content.form}")]
    records = [_pictures("images", "image-files")]
    if content.kind == "mask":
        files.append(_set("mask-files", "masks/*.png", "image/png"))
        records.append(_pictures("masks", "mask-files"))
    if content.kind == "landmarks":
        files.append(_file(content, "annotations.json", "application/json"))
        fields = [("image_id", "sc:Integer", False), ("keypoints", "sc:Float", True)]
        records.append(_table("annotations", "annotations.json", fields, "$.annotations[*].{}"))
    if content.kind == "attributes":
        files.append(_file(content, "attributes.csv", "text/csv"))
        fields = [("file_name", "sc:Text", False), *((name, "sc:Integer", False) for name in content.names)]
        records.append(_table("attributes", "attributes.csv", fields))
    for name in ("latents", "doubt", "numbers", "landmarks", "annotations"):
        if (content.folder / f"{name}.npy").is_file():
            files.append(_file(content, f"{name}.npy", "application/octet-stream"))
    size, made = f"{told['height']}x{told['width']}", "" if told.get("sampler") == "images" else "generated "
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": f"{made}images-with-{plural.replace(' ', '-')}".replace(" ", "-"),
        "description": f"{told['count']} {made}images of {size} pixels with {plural}; README.md says how they came",
        "citeAs": CITE,
        "version": "1.0.0",
        "distribution": files,
        "recordSet": records,
    }


def _file(content: Content, name: str, form: str) -> dict[str, Any]:
    digest = hashlib.sha256()
    with (content.folder / name).open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    told = {"@type": "cr:FileObject", "@id": name, "name": name, "contentUrl": name}
    return told | {"encodingFormat": form, "sha256": digest.hexdigest()}


def _set(name: str, pattern: str, form: str) -> dict[str, Any]:
    return {"@type": "cr:FileSet", "@id": name, "name": name, "includes": pattern, "encodingFormat": form}


def _pictures(name: str, files: str) -> dict[str, Any]:
    def field(own: str, kind: str, what: str) -> dict[str, Any]:
        source = {"fileSet": {"@id": files}, "extract": {"fileProperty": what}}
        return {"@type": "cr:Field", "@id": f"{name}/{own}", "name": own, "dataType": kind, "source": source}

    fields = [field("file_name", "sc:Text", "filename"), field("picture", "sc:ImageObject", "content")]
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "field": fields}


def _table(name: str, file: str, fields: list[tuple[str, str, bool]], path: str = "") -> dict[str, Any]:
    """Return the records of a table, by its columns, or of a JSON file, by the path of each field."""

    def field(own: str, kind: str, repeated: bool) -> dict[str, Any]:
        extract = {"jsonPath": path.format(own)} if path else {"column": own}
        source = {"fileObject": {"@id": file}, "extract": extract}
        told = {"@type": "cr:Field", "@id": f"{name}/{own}", "name": own, "dataType": kind, "source": source}
        return told | ({"repeated": True} if repeated else {})

    return {"@type": "cr:RecordSet", "@id": name, "name": name, "field": [field(*each) for each in fields]}
