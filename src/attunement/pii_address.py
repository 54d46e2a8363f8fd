"""Postal addresses as they are written in the United States, Britain, Germany, India and Australia, among other words.

In: a text. Out: spans; parts of one address that stand close together are one span. A street needs its house number, so
that "down the road" and "Baker Street" are none; a postcode counts where it names a few doors (the British, Irish and
Canadian) or stands in its full form (City, ST 12345; Suburb VIC 3053). A city or a German or Indian postcode alone does
not.
"""

import re
from collections.abc import Iterator

Span = tuple[int, int]

# Words between a house number and a street's kind that show that no street is meant: "20 minutes' drive".
_NO_NAME = (r"(?!(?:min(?:ute)?s?|hours?|hrs?|days?|weeks?|months?|years?|miles?|km|blocks?|times?|of|the|a|an|my|his|"
            r"her|our|your|their|in|on|to|from|down|up|per|and|or|into|for|at|with|by|more|people|wrong|is|was|were|"
            r"am|pm|steps?|turns?|cars?|kids|men|women|percent|dollars?|pounds?|euros?|mg|long|different|other|"
            r"every|this|that|ways?|missed|than|then|but|so|i|you|he|she|we|they|it|bus(?:es)?|houses|doors|metres|"
            r"meters|feet|foot|inch(?:es)?)\b)")
_NAME = rf"{_NO_NAME}(?:[^\W\d_][\w'’-]*\.?|\d{{1,3}}(?:st|nd|rd|th))"
_NUMBER = r"(?<![\w.,$£€:/#-])\d{1,5}(?:[ -]?[a-d])?(?:/\d{1,5})?(?:-\d{1,4})?"
_COMPASS = r"(?:(?:n|s|e|w|ne|nw|se|sw|north|south|east|west)\.?\s+)?"
_SURE = (r"(?:street|avenue|ave|road|rd|boulevard|blvd|lane|ln|crescent|cres|terrace|mews|parade|highway|hwy|pkwy|"
         r"parkway|gardens|esplanade|cul-de-sac|nagar|marg)")
_UNSURE = (r"(?:st|drive|dr|court|ct|close|way|place|pl|grove|square|sq|row|hill|circle|cir|trail|walk|rise|green|"
           r"park|view)")
STREET = re.compile(rf"{_NUMBER},?\s+{_COMPASS}(?:{_NAME}\s+){{1,3}}?{_SURE}\b\.?(?!-)", re.IGNORECASE)
UNSURE_STREET = re.compile(rf"{_NUMBER},?\s+{_COMPASS}(?:{_NAME}\s+){{1,3}}?{_UNSURE}\b\.?(?!['’-])", re.IGNORECASE)
CAPITALISED = re.compile(r"[\d/a-dA-D -]+,?\s+(?:[A-Z0-9][\w'’.-]*\s+)*[A-Z][a-z]*\.?")
LIVES = re.compile(r"\b(?:live|lives|living|lived|address|stay(?:ing|s)?|moved?|house|home|flat|at|come to|"
                   r"send(?: it)? to|door)\s*(?:is|to|:|at|in|on|into)?\s*$", re.IGNORECASE)
GERMAN = re.compile(
    r"\b(?:[A-ZÄÖÜ][\wäöüß-]+(?:straße|strasse|str\.|weg|platz|allee|gasse|damm|ufer|stieg|chaussee)"
    r"|[a-zäöüß]{3,}(?:straße|strasse|str\.)"
    r"|(?!(?:Der|Die|Das|Den|Dem|Ein|Eine|Dein|Mein|Kein|Auf|Jeder|Jahr)\s)(?:[A-ZÄÖÜ][\w-]+\s){1,2}"
    r"(?:Straße|Strasse|Str\.|Weg|Platz|Allee|Gasse|Damm|Ufer|Ring))"
    r"\s*(?:Nr\.?\s*)?\d{1,4}(?:\s?[a-h]\b)?(?![\w.]\d|\s*%|:\d)")
GERMAN_PLACE = re.compile(  # Am Markt 3, 12345 Musterstadt: only the postcode shows what it is
    r"\b(?:[A-ZÄÖÜ][\wäöüß.-]+\s){1,3}\d{1,4}\s?[a-h]?\s*,\s*(?:D-)?\d{5}\s+[A-ZÄÖÜ][a-zäöüß]+")
GERMAN_CITY = re.compile(r"\s*,?\s*((?:D-)?\d{5}\s+[A-ZÄÖÜ][a-zäöüß]+)")
_AREAS = ("AB AL B BA BB BD BH BL BN BR BS BT CA CB CF CH CM CO CR CT CV CW DA DD DE DG DH DL DN DT DY E EC EH EN EX "
          "FK FY G GL GU GY HA HD HG HP HR HS HU HX IG IM IP IV JE KA KT KW KY L LA LD LE LL LN LS LU M ME MK ML N NE "
          "NG NN NP NR NW OL OX PA PE PH PL PO PR RG RH RM S SA SE SG SK SL SM SN SO SP SR SS ST SW SY TA TD TF TN TQ "
          "TR TS TW UB W WA WC WD WF WN WR WS WV YO ZE")
_POSTCODE = rf"(?:{'|'.join(_AREAS.split())})\d[\dA-HJKMNP-Z]?"
POSTCODE = re.compile(rf"\b{_POSTCODE} ?\d(?!TB|GB|MB)[ABD-HJLNP-UW-Z]{{2}}\b")
NAMED_POSTCODE = re.compile(rf"\bpost ?code\s*(?:is|:|=|-|,)?\s*({_POSTCODE} ?\d[ABD-HJLNP-UW-Z]{{2}})\b",
                            re.IGNORECASE)
_STATES = ("AL AK AZ AR CA CO CT DE FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND OH "
           "OK OR PA RI SC SD TN TX UT VT VA WA WV WI WY DC")
US_PLACE = re.compile(rf"\b(?:[A-Z][\w.'-]+\s){{0,2}}[A-Z][\w.'-]+,\s*(?:{'|'.join(_STATES.split())})\.?,?\s+"
                      r"\d{5}(?:-\d{4})?\b(?!,\d)")
AU_PLACE = re.compile(r"\b(?:[A-Z][\w'-]+\s){0,2}[A-Z][\w'-]+,?\s+(?:NSW|VIC|QLD|WA|SA|TAS|ACT|NT),?\s+\d{4}\b")
INDIAN = re.compile(
    r"(?<!\w)(?:flat|house|h\.?\s?no|plot|door|room|shop|qtr|quarter|block|tower|sector|#)\s*\.?(?:no\b\.?)?\s*:?\s*"
    r"[a-z]?[-/]?\d[\w/-]*\s*,[^!?\n]{3,90}?\b[1-8]\d{2}\s?\d{3}\b(?![,.]?\d)", re.IGNORECASE)
NOT_INDIAN = re.compile(r"\b(?:rupees|rs|points|us|month|fans|lakh|i|we|my|is|was|are|paid|debt)\b", re.IGNORECASE)
INDIAN_PLACE = re.compile(
    r"\b(?:flat|house|h\.?\s?no|plot|door)\s*\.?(?:no\b\.?)?\s*:?\s*[a-z]?[-/]?\d[\w/-]*\s*,\s*(?:[\w'.]+[\s,]+){1,5}?"
    r"(?:nagar|colony|layout|marg|society|apartments?|residency|enclave|vihar|puram|chowk|bagh|extension|cross|"
    r"main road)\b", re.IGNORECASE)
EIRCODE = re.compile(r"\b(?:D6W|[AC-FHKNPRTV-Y]\d\d) ?([\dAC-FHKNPRTV-Y]{4})\b")
CANADIAN = re.compile(r"\b[ABCEGHJ-NPRSTVXY]\d[ABCEGHJ-NPRSTV-Z] \d[ABCEGHJ-NPRSTV-Z]\d\b")
NAMED_CODE = re.compile(
    r"\b(?:eircode|post(?:al)? ?code|zip)\s*(?:is|:|=|-|,)?\s*((?:d6w|[ac-fhknprtv-y]\d\d) ?[\dac-fhknprtv-y]{4}"
    r"|[abceghj-nprstvxy]\d[abceghj-nprstv-z][ -]?\d[abceghj-nprstv-z]\d)\b", re.IGNORECASE)
BOX = re.compile(r"\b(?:p\.?\s?o\.?\s?box|postfach|gpo box)\s*(?:no\.?\s*)?\d{1,6}(?:\s\d{2})?\b", re.IGNORECASE)
FICTION = re.compile(
    r"10 downing st|221b? baker st|1600 pennsylvania|4 privet d|12 grimmauld|742 evergreen|42 wallaby|21 jump st|"
    r"10 cloverfield|84 charing cross|32 windsor gardens|1428 elm st|1313 mockingbird|9 to 5|52 festive", re.IGNORECASE)
UNIT = re.compile(r"[\s,]*(?:apt|apartment|unit|suite|ste|flat|#)\.?\s*#?\w{1,5}\b", re.IGNORECASE)
GAP = 40  # characters between two parts of one address
PLAIN_PARTS = (STREET, GERMAN, GERMAN_PLACE, POSTCODE, CANADIAN, US_PLACE, AU_PLACE, INDIAN_PLACE, BOX)
# Without one of these there is no address.
PARTS = (*PLAIN_PARTS, EIRCODE, INDIAN, NAMED_POSTCODE, NAMED_CODE, UNSURE_STREET)


def addresses(text: str) -> list[Span]:
    """Spans of postal addresses, each as one."""
    spans = sorted(span for span in _parts(text) if not FICTION.match(text[span[0]:span[1]]))
    joined: list[Span] = []
    for start, end in spans:
        if unit := UNIT.match(text, end):
            end = unit.end()
        if joined and start - joined[-1][1] <= GAP and not re.search(r"[.!?]\s|\n\n", text[joined[-1][1]:start]):
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _parts(text: str) -> Iterator[Span]:
    for pattern in PLAIN_PARTS:
        yield from (match.span() for match in pattern.finditer(text))
    yield from (match.span() for match in EIRCODE.finditer(text) if _is_mixed(match[1]))
    yield from (match.span() for match in INDIAN.finditer(text) if not NOT_INDIAN.search(match[0]))
    yield from (match.span(1) for named in (NAMED_POSTCODE, NAMED_CODE) for match in named.finditer(text))
    for match in UNSURE_STREET.finditer(text):
        lives = LIVES.search(text[:match.start()])
        if CAPITALISED.fullmatch(match[0]) or lives:
            yield match.span()
    for match in GERMAN.finditer(text):
        if city := GERMAN_CITY.match(text, match.end()):
            yield city.span(1)


def _is_mixed(code: str) -> bool:
    """Whether a code has a letter and a digit: without, it may be a form and its year ("P45 2023")."""
    return not (code.isdigit() or code.isalpha())
