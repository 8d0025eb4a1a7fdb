"""Uploads one file with tuspy as the JSON on standard input says, and prints the upload's URL and offset as JSON.

Keys: `endpoint` or `url`, `path`; `options` go to tuspy's uploader as they are; `stop_at` in bytes; `storage`, a file
for tuspy's URL storage; `is_async` for its asynchronous uploader; `headers` of every request.
"""

import asyncio
import json
import sys

from tusclient import client
from tusclient.storage import filestorage


def main():
    wanted = json.load(sys.stdin)
    options = {"file_path": wanted["path"], **wanted.get("options", {})}
    if storage := wanted.get("storage"):
        options |= {"store_url": True, "url_storage": filestorage.FileStorage(storage)}
    if url := wanted.get("url"):
        options["url"] = url
    tus = client.TusClient(wanted.get("endpoint"), headers=wanted.get("headers"))
    if wanted.get("is_async"):
        uploader = tus.async_uploader(**options)
        asyncio.run(uploader.upload(stop_at=wanted.get("stop_at")))
    else:
        uploader = tus.uploader(**options)
        uploader.upload(stop_at=wanted.get("stop_at"))
    json.dump({"url": uploader.url, "offset": uploader.offset}, sys.stdout)


main()
