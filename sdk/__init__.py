"""All that a connector touches. Import names from here; the modules behind may move."""

from . import xml
from .auth import api_key, basic, bearer, oauth2_client_credentials
from .cadence import DAY, HOUR, MINUTE
from .call import current_call
from .errors import (
    InvalidInput,
    Misconfigured,
    NotFound,
    Overloaded,
    Rejected,
    RelaisError,
    Text,
    UpstreamInvalid,
    UpstreamUnavailable,
)
from .files import File
from .http import Http, Policy, Request, Response, Send
from .matching import fold
from .messages import Received
from .model import (
    Choice,
    Choices,
    Feature,
    FeatureCollection,
    Field,
    Geocoded,
    Hit,
    HttpUrl,
    Invoice,
    Model,
    Point,
    Progress,
    Receipt,
    Row,
    Secret,
    read,
)
from .rest import Rest
from .soap import NIL, Soap, SoapFault, UsernameToken
from .spec import (
    MEGABYTE,
    Connector,
    DeclarationError,
    ErrorCode,
    callback,
    create,
    every,
    get,
    update,
)
from .tabular import Table, TableOptions, UrlSource
from .values import csv_choices, rest_get, rest_post

__all__ = [
    "DAY",
    "HOUR",
    "MEGABYTE",
    "MINUTE",
    "NIL",
    "Choice",
    "Choices",
    "Connector",
    "DeclarationError",
    "ErrorCode",
    "Feature",
    "FeatureCollection",
    "Field",
    "File",
    "Geocoded",
    "Hit",
    "Http",
    "HttpUrl",
    "InvalidInput",
    "Invoice",
    "Misconfigured",
    "Model",
    "NotFound",
    "Overloaded",
    "Point",
    "Policy",
    "Progress",
    "Receipt",
    "Received",
    "Rejected",
    "RelaisError",
    "Request",
    "Response",
    "Rest",
    "Row",
    "Secret",
    "Send",
    "Soap",
    "SoapFault",
    "Table",
    "TableOptions",
    "Text",
    "UpstreamInvalid",
    "UpstreamUnavailable",
    "UrlSource",
    "UsernameToken",
    "api_key",
    "basic",
    "bearer",
    "callback",
    "create",
    "csv_choices",
    "current_call",
    "every",
    "fold",
    "get",
    "oauth2_client_credentials",
    "read",
    "rest_get",
    "rest_post",
    "update",
    "xml",
]
