"""Public error codes of the accounting systems, and phrases that give a cause away, each with its class.

Sources, read in 2026:
    QuickBooks Online: developer.intuit.com, "Error codes" (develop/troubleshooting/error-codes), "Handling common
        errors" (develop/troubleshooting/handling-common-errors), "Top QuickBooks Online API errors" (hub/blog,
        2017-06-08); the throttle's body in github.com/intuit/QuickBooks-V3-PHP-SDK issue 54 (429) and
        github.com/routablehq/python-quickbooks issue 43 (403). 3100, 3202, 100, 270, 2010,
        2030, 2050, 4000, 4001 and 6070 stand on none of these pages: from memory of the API's faults, less sure.
    Xero: developer.xero.com, "HTTP response codes & errors" (documentation/api/http-response-codes), "OAuth 2.0 API
        limits" (documentation/guides/oauth2/limits); github.com/XeroAPI/xero-php-oauth2 issue 147
        (AuthenticationUnsuccessful), XeroAPI/Xero-NetStandard release 3.22.1 (429 with Retry-After and limit type).
    Sage Business Cloud Accounting: developer.sage.com/accounting, "Response codes", "Frequently raised errors";
        ``$dataCode`` values in github.com/Sage/sageone_api_php_sample issues 9, 29, 32 and
        developer.sage.com/x3/graphql/guides/api-error-codes.
"""

from collections.abc import Mapping

from crewflow_assets.retry_strategy.contract import ErrorClass

CODES: Mapping[str, Mapping[str, ErrorClass]] = {
    "quickbooks": {
        "3001": "rate_limit",  # ThrottleExceeded
        "3200": "auth",  # ApplicationAuthenticationFailed; token_expired where the text says that the token is
        "3100": "auth",  # ApplicationAuthorizationFailed
        "3202": "auth",
        "100": "auth",
        "120": "auth",  # the person who connected is no administrator any more
        "270": "auth",  # OAuth token rejected
        "6190": "subscription",  # trial or subscription ended
        "610": "not_found",  # deleted, or made inactive
        "2500": "not_found",  # reference to something inactive or gone
        "5010": "conflict",  # stale SyncToken
        "6140": "duplicate",  # document number
        "6240": "duplicate",  # name
        "6210": "closed_period",
        "6540": "validation",  # deposited transaction cannot be changed
        "500": "validation",  # unsupported operation: a vendor code in the body, not the HTTP status
        "2010": "validation",
        "2020": "validation",  # a required parameter is missing
        "2030": "validation",
        "2050": "validation",
        "2170": "validation",  # invalid enumeration
        "4000": "validation",  # query
        "4001": "validation",
        "6000": "validation",  # business validation
        "6070": "validation",
        "10000": "server_error",  # SystemFault
    },
    "xero": {
        "10": "validation",  # ValidationException; its message may say more
        "validationexception": "validation",
        "postdatainvalidexception": "validation",  # 14
        "14": "validation",
        "16": "validation",  # QueryParseException
        "authenticationunsuccessful": "auth",
        "authorizationunsuccessful": "auth",
        "tokenexpired": "token_expired",
    },
    "sage": {
        "recordinvalid": "validation",
        "recordnotfound": "not_found",
        "authorizationfailure": "auth",
        "authenticationfailure": "auth",
        "internalservererror": "server_error",
        "unexpectederror": "server_error",
    },
}

PHRASES: tuple[tuple[str, ErrorClass], ...] = (
    (
        r"x-rate-limit-problem:? *\"?day|daily (?:rate |request |api |call )*(?:limit|cap|quota|allowance)"
        r"|day limit|calls per day|quota",
        "quota",
    ),
    (
        r"throttl|rate ?limit|rate limit exceeded|too many (?:api )?requests|request limit was reached"
        r"|x-rate-limit-problem|concurrent limit",
        "rate_limit",
    ),
    (
        r"token[ _]?expired|tokenexpired|expired (?:access )?token|token (?:has |is )?expired|jwt expired"
        r"|access token[^.]{0,30} expired|oauth_problem=token_expired",
        "token_expired",
    ),
    (
        r"invalid_grant|unauthori[sz]ed|authenticationunsuccessful|authori[sz]ationunsuccessful|revoked"
        r"|authori[sz]ation ?fail|authentication ?fail|token_rejected|invalid_client|consent"
        r"|do not have (?:access|permission)|forbidden",
        "auth",
    ),
    (
        r"(?:subscription|trial)[^.]{0,40}(?:ended|expired|cancel)|no active subscription"
        r"|billing problem|registration has expired",
        "subscription",
    ),
    (
        r"accounting period (?:has |is )?closed|period (?:is |has been )?(?:closed|locked)|lock date|locked period"
        r"|books (?:are|were|have been) closed|closing date|closed (?:payroll |accounting )?period|year[- ]end lock",
        "closed_period",
    ),
    (
        r"stale object|synctoken|modified by another|version (?:mismatch|conflict)"
        r"|edit(?:ed)? (?:by another|conflict)"
        r"|was changed since|optimistic lock|working on this at the (?:exact )?same time",
        "conflict",
    ),
    (
        r"duplicate|already (?:exists|in use|been used)|must be unique|has already been taken|already using this",
        "duplicate",
    ),
    (
        r"certificate|ssl|tls|handshake|unable_to_verify|self[- ]signed|cert_has_expired",
        "tls",
    ),
    (
        r"econnre|enotfound|eai_again|connection (?:was )?(?:reset|refused|aborted|closed|error)|socket hang up"
        r"|no route to host|name or service not known|dns|broken pipe|network is unreachable|epipe"
        r"|getaddrinfo|failed to establish",
        "network",
    ),
    (
        r"etimedout|esockettimedout|timed? ?out|took too long|deadline exceeded|no answer within|gateway time-?out",
        "timeout",
    ),
    (
        r"internal (?:server )?error|service (?:is )?(?:temporarily )?unavailable|bad gateway|maintenance|overloaded"
        r"|organisation (?:is )?offline|temporarily cannot be connected|system ?fault|bug in our application",
        "server_error",
    ),
    (
        r"(?:couldn'?t|could not|cannot) find|not found|made inactive|has been (?:deleted|archived|voided)"
        r"|does not exist|no longer exists|is (?:archived|deleted)",
        "not_found",
    ),
    (
        r"validation|currently in use|is (?:required|invalid|missing|not valid)|must be|required param"
        r"|invalid enumeration|malformed"
        r"|not a valid|can'?t be blank|cannot be (?:blank|empty|null)|is too long|does not match",
        "validation",
    ),
)
"""Regular expressions over lower-case text, the first that is found counts; the more telling come first."""

WORDS: Mapping[str, ErrorClass] = {
    "rate_limit": "rate_limit", "rate_limited": "rate_limit", "throttled": "rate_limit", "http_429": "rate_limit",
    "too_many_requests": "rate_limit", "quota": "quota", "daily_limit": "quota",
    "server_error": "server_error", "api_down": "server_error", "http_5xx": "server_error",
    "unavailable": "server_error", "maintenance": "server_error",
    "timeout": "timeout", "read_timeout": "timeout", "connect_timeout": "network", "network": "network",
    "network_error": "network", "connection_error": "network", "dns": "network",
    "tls": "tls", "ssl": "tls", "ssl_error": "tls",
    "token_expired": "token_expired", "auth": "auth", "auth_error": "auth", "http_auth": "auth",
    "authentication": "auth", "authorization": "auth", "unauthorized": "auth", "forbidden": "auth",
    "subscription": "subscription", "validation": "validation", "validation_error": "validation",
    "bad_request": "validation", "http_4xx": "validation", "data_quality": "validation",
    "not_found": "not_found", "http_404": "not_found", "http_410": "not_found",
    "conflict": "conflict", "stale": "conflict", "stale_object": "conflict", "version_conflict": "conflict",
    "duplicate": "duplicate", "closed_period": "closed_period", "period_closed": "closed_period",
}  # fmt: skip
"""What callers call an error, where nothing else tells."""

EXAMPLES: Mapping[ErrorClass, tuple[str, ...]] = {
    "rate_limit": (
        "too many calls in a short time, slow down and try again later",
        "you are sending requests too quickly",
        "the number of calls per minute for this company was exceeded",
        "request was limited, please wait before retrying the api",
    ),
    "quota": (
        "you have used all the api calls of your plan for today",
        "the daily allowance of requests for this organisation has been used up",
    ),
    "server_error": (
        "an unexpected problem occurred on our side, please try again",
        "something went wrong while processing your request, contact support if it persists",
        "the server could not complete the operation because of an unexpected condition",
        "the backend is currently not available, please retry later",
        "a scheduled outage is in progress",
    ),
    "timeout": (
        "the operation took too long to complete",
        "the server did not answer in time",
        "no response was received before the time limit",
    ),
    "network": (
        "the remote host closed the connection unexpectedly",
        "could not connect to the server",
        "the host could not be reached",
        "host name could not be resolved",
    ),
    "tls": (
        "could not verify the identity of the server",
        "the secure channel could not be negotiated",
    ),
    "token_expired": (
        "your session has run out, sign in again",
        "the access token is no longer valid because its life time has passed",
    ),
    "auth": (
        "the credentials are not valid for this company",
        "the user has disconnected the app",
        "you are not permitted to use this resource",
        "the app has no permission for this organisation",
    ),
    "subscription": (
        "the company's account is suspended because payment is due",
        "you can no longer add data because the plan has lapsed",
    ),
    "validation": (
        "the amount has to be a positive number",
        "one of the fields holds a value that is not accepted",
        "the employee is needed to save a time activity",
        "the hours of a day cannot be more than 24",
        "the request body could not be read",
    ),
    "not_found": (
        "the record you asked for is gone",
        "the customer that is referred to was deleted",
        "there is no such account",
    ),
    "conflict": (
        "another user changed this record while you were working on it",
        "the version you sent is older than the one we hold",
    ),
    "duplicate": (
        "a record with this number is there already",
        "this entry was entered before under the same name",
    ),
    "closed_period": (
        "the payroll run for these dates was finished and can not be altered",
        "entries dated before the closing of the books cannot be saved",
    ),
}
"""Sayings of no vendor in particular, to which an unseen message is compared."""
