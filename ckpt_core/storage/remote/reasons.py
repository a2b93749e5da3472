"""The meanings of a store's refusals, and the next steps.

The reasons are in words, by what the store or its client calls them.
"""

from collections.abc import Mapping

Words = str | Mapping[str, str]
"""A sentence: one for all schemes, or one by scheme with "" for the others."""


def words_for(words: Words, scheme: str) -> str:
    """The sentence for a scheme."""
    if isinstance(words, str):
        return words
    scheme = "gs" if scheme == "gcs" else scheme
    return words.get(scheme) or words[""]


NO_CREDENTIALS: Words = {
    "s3": "access denied, since no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or "
    "AWS_PROFILE, or FSSPEC_S3_ANON=true for a public bucket",
    "gs": "access denied, since no credentials were found; set GOOGLE_APPLICATION_CREDENTIALS or run gcloud auth "
    "application-default login, or set FSSPEC_GS_TOKEN=anon for a public bucket",
    "": "access denied, since no credentials were found; log in with its own tool",
}

DENIED: Words = {
    "s3": "access denied to these credentials; ask its owner for the right to read and list it, or check AWS_PROFILE "
    "and AWS_ACCESS_KEY_ID",
    "gs": "access denied to this account; ask its owner for the right to read and list it, or check "
    "GOOGLE_APPLICATION_CREDENTIALS",
    "hf": "access denied; log in with hf auth login or set HF_TOKEN, and ask for access on the repository's page",
    "": "access denied; check the credentials, and whether the URL has expired",
}

NOT_KNOWN: Words = {
    "gs": "access denied, since the credentials are not valid or have expired; run gcloud auth application-default "
    "login, or check GOOGLE_APPLICATION_CREDENTIALS",
    "hf": "access denied; log in with hf auth login or set HF_TOKEN, and ask for access on the repository's page",
    "": "access denied, since the server does not know who asks; check the credentials, and whether they have expired",
}

_EXPIRED: Words = (
    "access denied, since the credentials have expired; get new ones (aws sso login, or a new AWS_SESSION_TOKEN)"
)

WRONG_SERVER: Words = {
    "s3": "what answers there is no S3 server; check AWS_ENDPOINT_URL_S3",
    "gs": "what answers there is no server of Google Cloud Storage; check STORAGE_EMULATOR_HOST",
    "": "what answers there does not speak as its kind of server should; check the address",
}

OTHER_REGION = frozenset({"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"})
"""Codes by which S3 says that a bucket is elsewhere. Source: Amazon S3, "Error responses"."""

CODES: Mapping[str | None, Words] = {
    "InvalidAccessKeyId": "access denied, since the store does not know the access key; check AWS_ACCESS_KEY_ID or "
    "AWS_PROFILE, and which store is asked (AWS_ENDPOINT_URL_S3)",
    "SignatureDoesNotMatch": "access denied, since the secret key does not fit the access key; check "
    "AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "InvalidToken": "access denied, since the session token is not valid; set AWS_SESSION_TOKEN anew, or unset it",
    "RequestTimeTooSkewed": "access denied, since this machine's clock is more than 15 minutes from the store's; set "
    "the clock",
    "InvalidObjectState": "it is archived and cannot be read at once; restore it in the store first",
    "AccessDenied": DENIED,
    "AllAccessDisabled": DENIED,
}
"""By the code of an answer. Source: Amazon S3, "Error responses"; AWS STS, "Common errors"."""

KINDS: Mapping[str, Words] = {
    "NoCredentialsError": NO_CREDENTIALS,
    "PartialCredentialsError": NO_CREDENTIALS,
    "DefaultCredentialsError": NO_CREDENTIALS,
    "CredentialRetrievalError": _EXPIRED,
    "TokenRetrievalError": _EXPIRED,
    "SSOTokenLoadError": _EXPIRED,
    "UnauthorizedSSOTokenError": _EXPIRED,
    "RefreshError": NOT_KNOWN,
    "WrongServerError": WRONG_SERVER,
    "ResponseParserError": WRONG_SERVER,
    "JSONDecodeError": WRONG_SERVER,
    "ContentTypeError": WRONG_SERVER,
}
"""By the class of a client's error: botocore, google-auth, aiohttp, Python's own."""

WRONG_USE = {
    "ParamValidationError": "not a name that its store could have; check the bucket and what follows",
    "ProfileNotFound": "AWS_PROFILE names a profile that ~/.aws does not have; check its name",
}
"""By the class of an error that no server was asked for."""

NO_ENDPOINT = "its endpoint is not a URL; check AWS_ENDPOINT_URL_S3"

NO_SUCH_HOST = "no machine is known by the name of its server; check the name of the host or endpoint, and the network"

NO_SERVER = "no server answers at that address; check the connection, the host or endpoint and its port, and try again"

NOT_TRUSTED = (
    "the server's certificate is not one that this machine trusts; name a file of your authority's in SSL_CERT_FILE "
    "(for S3: AWS_CA_BUNDLE)"
)
