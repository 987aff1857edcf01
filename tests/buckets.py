"""An S3 server on this machine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SETTINGS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "hush-hush",
    "AWS_REGION": "us-east-1",  # else the bucket is asked for it, each time
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_MAX_ATTEMPTS": "1",
}


@contextmanager
def server() -> Iterator[str]:
    """The address of an S3 server with the empty bucket `shop`."""
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    address = f"http://{host}:{port}"
    client(address).create_bucket(Bucket="shop")
    yield address
    running.stop()


def client(address: str) -> Any:
    """A client of the server."""
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=address,
        region_name="us-east-1",
        aws_access_key_id=SETTINGS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=SETTINGS["AWS_SECRET_ACCESS_KEY"],
    )


def known_to_all(address: str) -> None:
    """Name the server and its credentials in the environment, as a user does."""
    os.environ.update(SETTINGS, AWS_ENDPOINT_URL=address)
