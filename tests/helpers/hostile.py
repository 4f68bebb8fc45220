"""Names that others chose: what consoles, Markdown and HTML would take for more than letters."""

MARKUP = "[/x][red]:smile:"
HTML = "<script>alert(1)</script>&amp;\"'"
MARKDOWN = "|`*_a_*`|[a](http://evil)![b](c)<b>~~#"
CONTROL = "a\x1b[31m\x07\r\nb\u2028c\u202ed\x00"
SURROGATE = "a\udcff"
ALL = (MARKUP, HTML, MARKDOWN, CONTROL, SURROGATE)
