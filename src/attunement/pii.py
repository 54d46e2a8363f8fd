"""What tells a person apart in a text: e-mail, phone, handle, postal address, id, payment card, and where it stands.

In: a text and its locale. Out: spans with a type, never words. The rules are tried in the order of `find_pii`, and what
one has taken no later one sees; the listed helplines go first, so that a referral is never taken for a private number.

Numbers are read by Google's libphonenumber (`phonenumbers`), checks by `python-stdnum`: a card needs a brand's prefix
and Luhn; an IBAN mod 97; an Aadhaar Verhoeff, a US SSN an area that is given out. Where the id's own word stands
beside a number ("my SSN is …") its shape is enough: a typing error does not make it less of a disclosure.

In doubt it is found: a reserved number (555-01xx), an address at example.com and an organisation's own telephone count.
Not found, by decision: contacts of helplines.yaml, also stale ones, e-mail at such a service's domain, and handles that
bear its name or a clinic's; toll-free, shared-cost and premium numbers and short codes, which no person has; a
form's placeholder (your.name@example.com); addresses known from books and films; numbers of orders and parcels, ISBNs,
dates, sums, scores; a city or a bare ZIP code; "@home"; and a person's first name. A shop's freephone number is found
nowhere, its ordinary one is: the digits do not tell whose they are.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from attunement.helplines import DATE, SAME_LETTERS, UNKNOWN_REGION, Helplines, listed, region_of
from attunement.phrases import load_referral_phrases, plain
from attunement.pii_address import PARTS, addresses
from attunement.prefilter import candidates

if TYPE_CHECKING:
    from phonenumbers import PhoneNumber

PiiType = Literal["email", "phone", "handle", "address", "id", "card", "name"]
TYPES: tuple[PiiType, ...] = get_args(PiiType)  # the order in which a label names them
Span = tuple[int, int]

REGIONS = ("US", "GB", "IE", "DE", "FR", "IN", "AU")  # whose national numbers are tried, after the locale's own
TAKEN = "\u25a1"  # stands for a character that a rule has taken: neither word, digit nor space


class Found(NamedTuple):
    """A span of a text, as character offsets, and what it tells."""

    type: PiiType
    start: int
    end: int


def find_pii(text: str, *, locale: str, helplines: Helplines) -> list[Found]:
    """What a text discloses, in the order in which it stands there."""
    rules: tuple[tuple[PiiType, Callable[[str], Iterable[Span]]], ...] = (
        ("email", lambda left: _emails(left, helplines)),
        ("handle", lambda left: _profiles(left, helplines)),
        ("card", _cards),
        ("id", _ids),
        ("handle", lambda left: _handles(left, helplines)),
        ("phone", lambda left: _phones(left, _regions(locale, helplines))),
        ("address", addresses),
    )
    left = _without_helplines(plain(text), locale, helplines)
    found: list[Found] = []
    for kind, spans in rules:
        for start, end in _apart(spans(left)):
            found.append(Found(kind, start, end))
            left = _take(left, start, end)
    return sorted(found, key=lambda one: one.start)


def find_pii_many(texts: Sequence[str], *, locales: Sequence[str], helplines: Helplines) -> list[list[Found]]:
    """`find_pii` of each, without looking closely at texts in which nothing that it knows can stand."""
    return [find_pii(text, locale=locale, helplines=helplines) if may else []
            for text, locale, may in zip(texts, locales, candidates(texts, OPENING, taken=TAKEN), strict=True)]


def _take(text: str, start: int, end: int) -> str:
    return text[:start] + TAKEN * (end - start) + text[end:]


def _apart(spans: Iterable[Span]) -> list[Span]:
    """Spans in order without overlaps; of two that overlap the longer."""
    kept: list[Span] = []
    for start, end in sorted(spans, key=lambda span: (span[0] - span[1], span)):
        if all(end <= begin or stop <= start for begin, stop in kept):
            kept.append((start, end))
    return sorted(kept)


def _without_helplines(text: str, locale: str, helplines: Helplines) -> str:
    if not re.search(r"\d|\.\w", text):
        return text
    spans = list(listed(text, region_of(locale, helplines), helplines, load_referral_phrases().named))
    left = text
    for span in spans:
        if span.end - span.start > SHORT_CHARS or not PAIRS_BEFORE.search(text, 0, span.start):
            left = _take(left, span.start, span.end)
    return left


SHORT_CHARS = 3
PAIRS_BEFORE = re.compile(r"\d[ .-]\d\d[ .-]\Z")  # the 15 of "0477 13 11 15" calls no ambulance


def _regions(locale: str, helplines: Helplines) -> tuple[str, ...]:
    own = region_of(locale, helplines)
    return tuple(dict.fromkeys((*(() if own == UNKNOWN_REGION else (own,)), *REGIONS)))


# ── e-mail ──────────────────────────────────────────────────────────────────────────────────────────────────────────

PROVIDER = (r"(?:g(?:oogle)?mail|hotmail|yahoo|ymail|outlook|live|icloud|aol|proton(?:mail)?|posteo|gmx|web|mail|msn"
            r"|btinternet|sky|rediffmail|bigpond|yandex|tutanota|fastmail|zoho|t-online|example)")
TLD = (r"(?:com|org|net|edu|gov|io|co|info|me|app|uk|de|fr|in|au|nz|ie|ca|us|eu|ch|at|nl|it|es|pl|se|no|dk|fi|pt|be"
       r"|br|mx|za|ph|sg|example|test|invalid)")
EMAIL = re.compile(r"(?<![\w.+%-])[\w.+%-]*\w[+-]?@\w[\w-]*(?:\.[\w-]+)*\.[^\W\d_]{2,}")
CUT_EMAIL = re.compile(rf"(?<![\w.+%-])[\w.+%-]*\w@{PROVIDER}\b(?!\.\w)", re.IGNORECASE)
# anna dot k at mail dot com; anna [at] posteo (dot) de; a local part, an "at" and a domain, each spelt or not.
_DOT = r"(?:\s*(?:\(dot\)|\[dot\]|\{dot\}|\(punkt\)|\[punkt\])\s*|\s+(?:dot|punkt)\s+)"
_JOIN = r"\s+(?:dot|punkt|underscore|dash|hyphen|minus|plus)\s+"
_LOCAL = rf"[\w.+%-]+(?:(?:{_JOIN}|{_DOT})[\w+%-]+){{0,4}}"
_MARKED_AT = r"\s*(?:\(at\)|\[at\]|\{at\}|<at>|\(@\)|\[@\]|\(ät\)|\(a\)(?=\s*\w+\s*[.(\[]))\s*|\s+@\s+"
_TAIL = rf"(?:{TLD}(?:{_DOT}{TLD}|\.{TLD})?)\b"
_DOMAIN = rf"\w[\w-]*(?:(?:{_DOT}|\.)[\w-]+)??(?:{_DOT}|\.){_TAIL}"
MARKED = re.compile(rf"(?<![\w.+%-]){_LOCAL}(?:{_MARKED_AT}){_DOMAIN}", re.IGNORECASE)
SPOKEN = re.compile(rf"(?<![\w.+%-])({_LOCAL})(\s+at\s+)({_DOMAIN})", re.IGNORECASE)
MAILBOX = re.compile(  # my gmail is anna.k92
    r"\b(?:g-?mail|hotmail|outlook|yahoo|icloud|proton ?mail)\s*(?:is|:|=|address is)\s*([a-z][\w.]*[\d_.][\w.]*\w)",
    re.IGNORECASE)
EMAIL_WORD = re.compile(r"\b(?:e-?mail|mail|g-?mail|inbox|address|reach|write|contact|send|forward)\w*\b",
                        re.IGNORECASE)
PLACEHOLDER = re.compile(r"(?:your?|you|name|your[._-]?(?:name|e?mail)|e?mail|user(?:name)?|someone|somebody|first"
                         r"(?:name)?[._]last(?:name)?)@(?:\w+\.)*(?:example|domain|email|provider)\.\w+", re.IGNORECASE)
NEAR = 60  # characters in which a word says what a number or name beside it is


def _emails(text: str, helplines: Helplines) -> Iterator[Span]:
    """E-mail addresses, also spelt out ("anna dot k at mail dot com"), but those of listed services."""
    spoken = (match for match in SPOKEN.finditer(text) if _is_spoken(text, match))
    for match in (*EMAIL.finditer(text), *CUT_EMAIL.finditer(text), *MARKED.finditer(text), *spoken):
        domain = re.split(r"@|\bat\b\W*", match[0].lower())[-1].strip()
        public = any(domain == own or domain.endswith(f".{own}") for own in _own_domains(helplines))
        if not (public or PLACEHOLDER.fullmatch(match[0])):
            yield match.span()
    yield from (match.span(1) for match in MAILBOX.finditer(text))


def _is_spoken(text: str, match: re.Match[str]) -> bool:
    """Whether "x at y.com" is an address, and not "I work at amazon.com", which tells a place."""
    local = match[1]
    marked = bool(re.search(rf"\w[._+\d]\w*|\d|{_JOIN}|{_DOT}", local, re.IGNORECASE))
    known = re.match(rf"{PROVIDER}\b", match[3], re.IGNORECASE)
    asked = EMAIL_WORD.search(text[max(0, match.start() - NEAR):match.start()])
    return marked or bool((known or asked) and not NO_LOCAL.fullmatch(local))


NO_LOCAL = re.compile(r"(?:look(?:ing|ed)?|work(?:ing|ed|s)?|am|i'?m|is|are|was|were|be|been|me|him|her|them|us|it|job|"
                      r"shop(?:ping)?|bought|book(?:ed)?|order(?:ed)?|that|this|account|here|there|one|stuff|things?|"
                      r"mail(?:ing)?|e-?mail|you|and|or|not|only|s?he|they|read|see|find|available)", re.IGNORECASE)


@cache
def _domains_of(sources: tuple[str, ...]) -> frozenset[str]:
    hosts = {match[1].lower() for source in sources
             if (match := re.match(r"(?:https?://)?(?:www\.)?([\w-]+(?:\.[\w-]+)+)", source))}
    return frozenset(hosts)


def _own_domains(helplines: Helplines) -> frozenset[str]:
    return _domains_of(tuple(text for region in helplines.values() for one in region.resources
                             for text in (one.source, *one.contacts)))


# ── handle ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_PLATFORM = (r"(?:insta(?:gram)?|ig|twitter|tik ?tok|snap(?:chat)?|discord|telegram|tumblr|reddit|kik|facebook|fb|"
             r"messenger|linkedin|twitch|steam|psn|xbox|bluesky|bsky|mastodon|threads|youtube|yt|wechat|skype|bereal|"
             r"pinterest|soundcloud|roblox|vsco)")
_CALLED = (r"(?:handle|name|account|id|user ?name|user|profile|tag|gamertag|is|was|as|under|called|it'?s|its|at|by|my|"
           r"me)")
_VALUE = r"(?=[\w.]{4})[a-z_][\w.]{2,29}\w(?:#\d{4})?"
CALLED = re.compile(
    rf"\b(?:{_PLATFORM}|gamer ?tag|user ?name|screen ?name|nick(?:name)?|profile|handle|user)(?:'s)?"
    rf"(?:\s+{_CALLED}\b)*\s*[:=,–-]?\s*(?:(?:it'?s|is|mine is|i'?m)\s+)?[\"'@]?({_VALUE})", re.IGNORECASE)
ON_PLATFORM = re.compile(rf"(?<![\w.@])({_VALUE})\s+on\s+(?:the\s+)?{_PLATFORM}\b", re.IGNORECASE)
NAMED = re.compile(  # a handle of letters alone needs words that can be followed by nothing else
    rf"\b(?:(?:my|his|her|their)\s+(?:{_PLATFORM}\s+)?(?:user ?name|handle|gamer ?tag|screen ?name)\s+(?:is|was)|"
    rf"(?:user ?name|gamer ?tag|handle|{_PLATFORM})\s*:|on\s+{_PLATFORM}\s+(?:as|under)|"
    rf"{_PLATFORM}\s+(?:name|handle|user ?name)\s+(?:is|was))\s+[\"']?([a-z]{{5,30}})\b"
    r"(?=[\"']?\s*(?:$|[.,;!?)]|if|and|on|but|there|everywhere|in case|so)(?!\w))", re.IGNORECASE)
NOT_NAMED = re.compile(r"private|public|gone|hacked|deleted|locked|taken|banned|empty|stupid|embarrassing|blocked|"
                       r"something|nothing|secret|hidden|mine|myself|usual|always|anonymous|changed|someone|hers|"
                       r"normal|friends?|therapy|broken|loose", re.IGNORECASE)
MENTION = re.compile(r"(?<![\w@/.])@(?=[\w.]{3})[a-z_][\w.]{1,29}(?<!\.)", re.IGNORECASE)
NOT_MENTION = re.compile(r"(?:home|work|school|uni|night|lunch|dinner|the|my|all|every(?:one|body)|here|channel|"
                         r"anyone|you|them|him|her|mum'?s|mom'?s|some|gym|church|least|last|first|noon|midnight|"
                         r"property|dataclass|admin|mods?|moderator|staff|support|grok|gmail|gmx)", re.IGNORECASE)
DISCORD = re.compile(r"(?<![\w#@])[a-z_][\w.]{1,31}#\d{4}\b(?![\d-])", re.IGNORECASE)
NOT_DISCORD = re.compile(r"(?:room|order|bus|gate|ticket|invoice|case|apt|unit|suite|flat|ref|number|no|item|parcel|"
                         r"locker|booking|receipt|episode|ep|track|part|issue|pr|bug|section|route|flight|thread|post|comment|prop|level)#\d{4}",
                         re.IGNORECASE)
SUBREDDIT_USER = re.compile(r"(?<![\w/])/?u/[\w-]{3,20}\b")
URL_HANDLE = re.compile(
    r"\b(?:https?://)?(?:www\.)?(?:(?:instagram|twitter|x|tiktok|facebook|fb|snapchat|twitch|threads|github|tumblr|"
    r"onlyfans|venmo|cash|paypal|youtube|reddit|linkedin|soundcloud)\.(?:com|net|tv|me|app)|t\.me|wa\.me|linktr\.ee)"
    r"/(?:in/|add/|u/|user/|c/|paypalme/)?[@$]?(?!(?:p|reel|reels|watch|explore|home|r|help|search|hashtag|settings|"
    r"share|shorts|groups|events|company|about|legal|privacy)\b)[\w.-]*\w", re.IGNORECASE)
SPELT_HANDLE = re.compile(r"\b\w{2,20}(?:\s+dot\s+\w{1,20})?(?:\s+underscore\s+\w{1,20})+(?:\s+(?:dot|underscore)\s+"
                          r"\w{1,20}|\s+\d{1,4}\b)*|\b\w{2,20}\s+underscore\b", re.IGNORECASE)
ORGANISATION = re.compile(r"nhs|clinic|hospital|helpline|lifeline|charity|official|samaritan|crisis|foundation|"
                          r"mentalhealth|befriend|hotline|gov(?:uk)?$|university|cdc|^who$|^mind$|mindcharity",
                          re.IGNORECASE)


def _profiles(text: str, helplines: Helplines) -> Iterator[Span]:
    """Web addresses of somebody's page."""
    return (match.span() for match in URL_HANDLE.finditer(text) if not _is_service(match[0], helplines))


def _handles(text: str, helplines: Helplines) -> Iterator[Span]:
    """Names on a platform: @name, name#1234, u/name, and a name after "my insta is"."""
    found = [m.span() for m in MENTION.finditer(text) if not NOT_MENTION.fullmatch(m[0][1:])]
    found += [m.span() for m in DISCORD.finditer(text) if not NOT_DISCORD.fullmatch(m[0])]
    found += [m.span() for m in SUBREDDIT_USER.finditer(text)]
    found += [m.span() for m in SPELT_HANDLE.finditer(text)]
    called = (*CALLED.finditer(text), *ON_PLATFORM.finditer(text))
    found += [m.span(1) for m in called if _looks_invented(m[1])]
    found += [m.span(1) for m in NAMED.finditer(text) if not NOT_NAMED.fullmatch(m[1])]
    return (span for span in found if not _is_service(text[span[0]:span[1]], helplines))


def _looks_invented(name: str) -> bool:
    """Whether a name holds what no plain word does: a digit, an underscore, or a dot between two longer parts."""
    if re.search(r"[\d_#]", name):
        return not re.fullmatch(r"[a-z]{1,3}\d{1,3}|\w+\.\d", name, re.IGNORECASE)
    return bool(re.fullmatch(r"[a-z]{3,}\.[a-z]{3,}", name)) and not re.search(
        r"\.(?:the|and|but|she|her|his|him|they|you|now|then|not|that|this|what|was|com|org|net|still|just|like|why|"
        r"how|all|when|because|even|always|never)$", name)


def _is_service(handle: str, helplines: Helplines) -> bool:
    letters = re.sub(r"[^a-z0-9]", "", handle.rpartition("/")[2].lower())
    return bool(ORGANISATION.search(letters)) or letters in _service_names(
        tuple(one.name for region in helplines.values() for one in region.resources))


@cache
def _service_names(names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(re.sub(r"[^a-z0-9]", "", re.sub(r"\(.*?\)", "", name).lower()) for name in names)


# ── card and id ─────────────────────────────────────────────────────────────────────────────────────────────────────

CARD = re.compile(r"(?<![\w.,$£€/-])\d(?:[ .-]{0,2}\d){12,18}(?![\w/]|[.,-]\d)")
BRANDS = re.compile(  # ISO/IEC 7812 prefixes with the lengths that the brand gives out
    r"4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}|"
    r"3(?:0[0-5]|[68]\d)\d{11}|35(?:2[89]|[3-8]\d)\d{12}|6(?:011|5\d\d|4[4-9]\d)\d{12}|62\d{14,17}|"
    r"(?:50|5[6-8]|6[0137]|8[12])\d{14,17}")
ORDER_WORD = re.compile(r"\b(?:order|parcel|package|track(?:ing)?|ref(?:erence)?|invoice|ticket|isbn|booking|serial|"
                        r"imei|item|sku|receipt|confirmation|build|version|barcode|shipment|bestell\w*)\b",
                        re.IGNORECASE)
ORDER_NEAR = 30

SSN = re.compile(r"(?<![\w-])\d{3}([- ])\d{2}\1\d{4}(?![\w-])")
NINO = re.compile(r"\b(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]([ -]?)\d{2}\1\d{2}\1\d{2}\1[A-D]\b")
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{2,4}){3,8}(?:[ -]?[A-Z0-9]{1,3})?\b", re.IGNORECASE)
AADHAAR = re.compile(r"(?<![\w.-])(?<!\d )[2-9]\d{3}([ -])\d{4}\1\d{4}(?![\w-]|[ -]\d)")
PAN = re.compile(r"\b[A-Z]{3}[ABCFGHLJPTK][A-Z]\d{4}[A-Z]\b")
DVLA = re.compile(r"\b[A-Z]{2}[A-Z9]{3}\d[0156]\d[0-3]\d{2}[A-Z9]{2}\d[A-Z]{2}\b")
_ID_NUMBER = r"(?:[a-z]{1,5}[ -]?)?\d[\da-z]{0,23}(?:[ ./-]{1,2}[a-z]{0,3}\d[\da-z]{0,11}|[ ./-][a-z]\b){0,6}"
_OWN_WORD = (r"(?:ssn|social(?: security| insurance)|national insurance|nino|(?:reise)?passport|reisepass|"
             r"passnummer|aa?dh?aa?r|voter(?: id)?|medicare|medicaid|nhs|iban|tfn|tax file|steuer-?id|"
             r"steuernummer|sozialversicherungsnummer|(?:kranken)?versicher(?:ten|ungs)nummer|personalausweis\w*|mrn|"
             r"medical record|kontonummer|sort code|routing|driv(?:er'?s?|ing) licen[cs]e|green card|"
             r"health card|national id|id card|nric|"
             r"(?<!order )(?<!parcel )(?<!ticket )(?<!booking )(?<!tracking )(?<!item )(?<!product )(?<!transaction )"
             r"(?:id|identity) (?:number|no\b\.?))")
_SHARED_WORD = (r"(?:social|n\.?i\.?|pan|sin|pps|ein|itin|patient|member(?:ship)?|policy|insurance|claim|account|acct|"
                r"student|employee|staff|prisoner|inmate|tax|beneficiary|subscriber|licen[cs]e|payroll|benefit|"
                r"universal credit|bank|hospital|health)")
_NUMBER_WORD = r"(?:number|no\b\.?|nr\b\.?|num\b|id\b|code|#)"
_MORE = r"(?:\s+(?:member|policy|patient|account|card|record|plan|security|insurance|licen[cs]e|reference))?"
ID_BEFORE = re.compile(
    rf"\b(?:{_OWN_WORD}{_MORE}(?:\s*{_NUMBER_WORD})*|{_SHARED_WORD}{_MORE}(?:(?:\s*{_NUMBER_WORD})+|(?=\s*:|\s+(?:is|as)\b)))"
    rf"(?:\s*[:=,.#–-]|\s+(?:is|was|as|it'?s|ist|lautet|also|too|here)\b)*\s*"
    rf"({_ID_NUMBER})(?![\w%])", re.IGNORECASE)
ID_AFTER = re.compile(
    rf"(?<![\w.$£€-])({_ID_NUMBER})(?:\s*[,=–-]\s*|\s+(?:is|was|that'?s|ist|as)\s+)(?:that'?s\s+)?"
    rf"(?:my|his|her|their|our|the|mein\w*)\s+(?:{_OWN_WORD}\b|{_SHARED_WORD}{_MORE}\s*{_NUMBER_WORD})", re.IGNORECASE)
_BANK = r"\b(?:sort[ -]?code|routing)\b"
_ACCOUNT = r"\b(?:account|acct|a/c)(?:\s*(?:number|num|no\b\.?|#))?(?:\s*[:=,#]|\s+is\b)*\s*"
SORT_CODE = re.compile(  # its shape is a date's
    r"\bsort[ -]?code(?:\s*(?:number|no\b\.?|#))?(?:\s*[:=,#]|\s+(?:is|was)\b)*\s*"
    r"(\d\d(?:-\d\d-| \d\d |\d\d)\d\d)(?![\w-]|[.,]\d)", re.IGNORECASE)
ACCOUNT_AFTER = re.compile(rf"{_BANK}[^.!?\n]{{0,40}}?{_ACCOUNT}(\d{{6,17}})(?![\w-]|[.,]\d)", re.IGNORECASE)
ACCOUNT_BEFORE = re.compile(rf"{_ACCOUNT}(\d{{6,17}})(?![\w-])[^.!?\n\d]{{0,20}}?{_BANK}", re.IGNORECASE)
ID_DIGITS = range(6, 25)
LETTERED_DIGITS = 4  # enough where letters stand before them


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def _named_otherwise(text: str, start: int) -> bool:
    """Whether the words before a number say that it is an order's, a parcel's or a book's."""
    return bool(ORDER_WORD.search(text[max(0, start - ORDER_NEAR):start]))


def _cards(text: str) -> Iterator[Span]:
    """Payment cards: a brand's prefix and length, and Luhn; also spelt ("four two four two …")."""
    from stdnum import luhn

    spelt = ((digits, span) for digits, span in _spelt_numbers(text) if digits.isdigit())
    for digits, (start, end) in (*((_digits(m[0]), m.span()) for m in CARD.finditer(text)), *spelt):
        if BRANDS.fullmatch(digits) and luhn.is_valid(digits) and not _named_otherwise(text, start):
            yield start, end


def _ids(text: str) -> Iterator[Span]:
    """Numbers of an office, a bank or an insurance: by their check, or by the word beside them."""
    from stdnum import iban
    from stdnum.in_ import aadhaar
    from stdnum.us import ssn

    yield from (m.span() for m in IBAN.finditer(text) if iban.is_valid(m[0]))
    yield from _ibans_within(text, iban.is_valid)
    yield from (m.span() for m in SSN.finditer(text) if ssn.is_valid(m[0].replace(" ", "-")))
    yield from (m.span() for m in AADHAAR.finditer(text)
                if aadhaar.is_valid(m[0]) and not _named_otherwise(text, m.start()))
    for pattern in (NINO, PAN, DVLA):
        yield from (m.span() for m in pattern.finditer(text))
    for pattern in (SORT_CODE, ACCOUNT_AFTER, ACCOUNT_BEFORE):
        yield from (m.span(1) for m in pattern.finditer(text))
    for match in (*ID_BEFORE.finditer(text), *ID_AFTER.finditer(text)):
        lettered = re.match(r"[a-z]{2}", match[1], re.IGNORECASE) and len(_digits(match[1])) >= LETTERED_DIGITS
        if (lettered or len(_digits(match[1])) in ID_DIGITS) and not DATE.search(match[1]):
            yield match.span(1)


def _ibans_within(text: str, is_valid: Callable[[str], bool]) -> Iterator[Span]:
    """IBANs after which plain words follow that the pattern took along ("…130 00 da soll es hin")."""
    for match in IBAN.finditer(text):
        ends = [m.end() for m in re.finditer(r"[A-Z0-9]+", match[0], re.IGNORECASE)]
        yield from ((match.start(), match.start() + end) for end in ends if is_valid(match[0][:end]))


# ── phone ───────────────────────────────────────────────────────────────────────────────────────────────────────────

PHONE_WORD = re.compile(
    r"\b(?:phone|telephone|tel|cell|mobile|mob|whats ?app|number|num|call|calls|calling|ring|text|txt|sms|dial|reach|"
    r"handy|nummer|telefon|contact|voicemail|landline|ph|digits|signal|festnetz|ruf|anrufen)\b", re.IGNORECASE)
PHONE_CANDIDATE = re.compile(r"\d(?:[\s().\-–/]{0,3}\d){6}")
NATIONAL = re.compile(r"(?<![\w.,$£€#-])\(?0\d{2,4}\)?[ -]?\d{3,4}[ -]?\d{3,4}(?:[ -]?\d{1,3})?(?![\w%-]|[.,]\d)")
LOCAL_US = re.compile(r"(?<![\w.,$£€#-])(?:\d{3}[-. ]|555)\d{4}(?![\w%-]|[.,]\d)")
MOBILE = re.compile(  # as Australians and Malaysians write theirs: 0477 13 11 15, 012-345 6789
    r"(?<![\w.,$£€#+-])(?:04\d\d(?:[ -]\d\d){3}|01\d-\d{3,4}[ -]\d{4})(?![\w%-]|[.,]\d| \d)")
# Eight digits (Singapore, Hong Kong) or nine without a 0 before (Spain, Kenya) are a number only where they are said to
# be one; years and a day's eight digits are none.
ASKED_FOR = re.compile(
    r"\b(?:(?:(?:phone|mobile|cell|whats ?app|contact|telephone|tel)(?:\s+(?:number|num|no\b\.?))?|"
    r"(?:my|his|her|their|our)\s+(?:new\s+)?(?:number|num))\s*(?:is|'s|:|=)?|"
    r"(?:call|text|txt|ring|reach|message|sms|phone|whats ?app)\s+(?:me|us|him|her|them)\s+(?:at|on))\s*"
    r"((?!(?:19|20)\d\d[ -]?(?:(?:19|20)\d\d|[01]\d[0-3]\d)\b)[235689]\d{3}[ -]?\d{4}"
    r"|[16-9]\d\d(?:[ -]?\d\d){3}|[16-9]\d\d[ -]?\d{3}[ -]?\d{3})(?![\w%]|[.,]\d|[ -]\d)", re.IGNORECASE)
FREE = re.compile(r"\(?(?:0800|0808|1800|1300|1-8(?:00|33|44|55|66|77|88))\b")  # also where it is not given out
PAIRS = re.compile(r"[1-9]\d(?: \d\d){4,5}")  # scores and counts; a number in pairs begins with 0 or +
_WORD_DIGIT = r"(?:zero|oh|o|nought|null|one|two|three|four|five|six|seven|eight|nine)"
DIGIT_OF = {"zero": "0", "oh": "0", "o": "0", "nought": "0", "null": "0", "one": "1", "two": "2", "three": "3",
            "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9"}
_TOKEN = rf"(?:\d{{1,6}}|(?:double|triple)\s(?:{_WORD_DIGIT}|\d)|{_WORD_DIGIT})\b"
_LINK = r"[\s,.;()\-–…/]{1,4}(?:(?:and\s)?(?:then|dash|hyphen|minus|dot|space|pause)\b[\s,.;…]{1,3})?"
SPELT_NUMBER = re.compile(rf"(?<![\w.$£€])(?:plus\s|\+)?{_TOKEN}(?:{_LINK}{_TOKEN}){{2,18}}", re.IGNORECASE)
PHONE_DIGITS = range(9, 16)  # with area code; ITU-T E.164 allows fifteen


def _phones(text: str, regions: Sequence[str]) -> Iterator[Span]:
    """Telephone numbers that a person may have, as they are written in any of the regions."""
    if PHONE_CANDIDATE.search(text):
        yield from _written_phones(text, regions)
    for digits, (start, end) in _spelt_numbers(text):
        clear = re.match(r"0\d{9}|\+", digits) or _is_asked_for(text, start, end)
        if clear and len(_digits(digits)) in PHONE_DIGITS and any(_is_possible(digits, region) for region in regions):
            yield start, end


def _written_phones(text: str, regions: Sequence[str]) -> Iterator[Span]:
    from phonenumbers import Leniency, PhoneNumberMatcher

    for region in regions:
        for match in PhoneNumberMatcher(text, region, leniency=Leniency.VALID):
            if _is_personal(match.number) and _is_written_out(text, match.start, match.end):
                yield match.start, match.end
        for match in PhoneNumberMatcher(text, region, leniency=Leniency.POSSIBLE):
            known = match.raw_string.startswith("+") or _is_asked_for(text, match.start, match.end)
            if known and _is_personal(match.number) and _is_written_out(text, match.start, match.end):
                yield match.start, match.end
    for found in NATIONAL.finditer(text):  # ranges kept for films and numbers not yet given out are valid nowhere
        possible = any(_is_possible(found[0], region) for region in regions)
        if len(_digits(found[0])) in (10, 11) and possible and _is_written_out(text, *found.span()):
            yield found.span()
    yield from (m.span() for m in MOBILE.finditer(text) if not _named_otherwise(text, m.start()))
    yield from (m.span(1) for m in ASKED_FOR.finditer(text)
                if not (_counts(_digits(m[1])) or _named_otherwise(text, m.start(1)) or FREE.match(m[1])))
    for found in LOCAL_US.finditer(text):
        if re.match(r"555\D", found[0]) or _is_asked_for(text, *found.span()):
            yield found.span()


def _is_asked_for(text: str, start: int, end: int) -> bool:
    """Whether a word beside a number says that it is to be called."""
    around = text[max(0, start - NEAR):start] + " " + text[end:end + NEAR // 2]
    return bool(PHONE_WORD.search(around)) and not _named_otherwise(text, start)


def _is_written_out(text: str, start: int, end: int) -> bool:
    """Whether it has the length and beginning of a number in full, and is no date, order or book."""
    raw = text[start:end]
    digits = _digits(raw)
    if len(digits) not in PHONE_DIGITS or DATE.search(raw) or _named_otherwise(text, start) or FREE.match(raw):
        return False
    if (_counts(digits) or PAIRS.fullmatch(raw)) and not _is_asked_for(text, start, end):
        return False
    begins = re.match(r"[+(]|0", raw) or len(digits) == 10 or (len(digits) == 11 and digits[0] == "1")
    return bool(begins) or (len(digits) == 12 and digits.startswith("91"))


def _is_personal(number: "PhoneNumber") -> bool:
    """Whether a person may have such a number: not toll-free, shared-cost, premium or a company's own."""
    from phonenumbers import PhoneNumberType, number_type

    return number_type(number) not in (PhoneNumberType.TOLL_FREE, PhoneNumberType.SHARED_COST,
                                       PhoneNumberType.PREMIUM_RATE, PhoneNumberType.UAN)


def _is_possible(digits: str, region: str) -> bool:
    from phonenumbers import NumberParseException, is_possible_number, parse

    try:
        number = parse(digits, region)
    except NumberParseException:
        return False
    return is_possible_number(number) and _is_personal(number)


def _spelt_numbers(text: str) -> Iterator[tuple[str, Span]]:
    """Numbers of which a part is spelt ("oh seven double seven", "07700 then 900"), as digits with a leading +."""
    for match in SPELT_NUMBER.finditer(text):
        if not re.search(r"[a-z]", match[0], re.IGNORECASE):
            continue
        said = match[0].translate(SAME_LETTERS).lower()
        tokens = re.findall(rf"(?:(double|triple)\s)?\b(\d+|{_WORD_DIGIT})\b", said)
        parts = [DIGIT_OF.get(word, word) * {"double": 2, "triple": 3}.get(times, 1) for times, word in tokens]
        digits = "".join(parts)
        if not _counts(digits):
            yield ("+" if re.match(r"\+|plus", match[0], re.IGNORECASE) else "") + digits, match.span()


def _counts(digits: str) -> bool:
    """Whether somebody counts up or down, as in an exercise, and tells no number."""
    steps = {(int(after) - int(before)) % 10 for before, after in pairwise(digits)}
    return len(steps) == 1


# With one of these every rule begins: where none of them matches, nothing is found (a test holds it to the rules).
OPENING = (
    EMAIL, CUT_EMAIL, MARKED, SPOKEN, MAILBOX, URL_HANDLE, MENTION, DISCORD, SUBREDDIT_USER, SPELT_HANDLE, CALLED,
    ON_PLATFORM, NAMED, CARD, SPELT_NUMBER, PHONE_CANDIDATE, MOBILE, ASKED_FOR, IBAN, SSN, AADHAAR, NINO, PAN, DVLA,
    ID_BEFORE, ID_AFTER, SORT_CODE, ACCOUNT_AFTER, ACCOUNT_BEFORE, *PARTS)
