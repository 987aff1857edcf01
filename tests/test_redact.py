"""What is taken out of addresses, and what is left of the text round them."""

import pytest

from recctl.redact import redact


@pytest.mark.parametrize("name", ["sig", "pwd", "PASS", "auth", "code", "x-amz-credential", "jwt"])
def test_a_parameter_with_the_name_of_a_secret_is_hidden(name: str) -> None:
    assert redact(f"https://h/a.csv?day=1&{name}=s3cret&x=2") == (
        f"https://h/a.csv?day=1&{name}=***&x=2"
    )


@pytest.mark.parametrize("name", ["design", "passenger", "author", "encoding"])
def test_a_parameter_that_only_sounds_like_it_is_not(name: str) -> None:
    assert redact(f"https://h/a.csv?{name}=blue") == f"https://h/a.csv?{name}=blue"


@pytest.mark.parametrize("password", ["pa/ss", "pa ss", "pa'ss", 'pa"s/s', "p@s/s", "/", "12/34"])
def test_a_password_of_any_signs_is_hidden(password: str) -> None:
    address = f"postgresql://ann:{password}@host:5432/db"
    assert redact(f"no answer from {address}, nor from {address}") == (
        "no answer from postgresql://host:5432/db, nor from postgresql://host:5432/db"
    )


@pytest.mark.parametrize(
    "text",
    [
        "MLflow at http://host:5000/api: no answer, ask ann@example.com",
        "MLflow at http://host: no answer, ask ann@example.com",
        "http://[::1]:5000 is away, ask ann@example.com",
        "https://host/@ann/log.csv",
        "s3://bucket/day@1.csv",
        "https://a.example:443, https://b.example",
    ],
)
def test_what_is_no_password_stays(text: str) -> None:
    assert redact(text) == text
