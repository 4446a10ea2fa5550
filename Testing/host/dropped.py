"""What Qt 5 has and Qt 6 dropped: refused here with what to write instead, since the module must run on both."""

from __future__ import annotations

CLASSES = {
    "QTextCodec": "Qt 6 has only UTF-8 and QStringConverter: encode and decode in Python",
    "QTextEncoder": "encode in Python",
    "QTextDecoder": "decode in Python",
    "QDesktopWidget": "use slicer.app.primaryScreen",
    "QRegExp": "use qt.QRegularExpression or Python's re",
    "QRegExpValidator": "use qt.QRegularExpressionValidator",
    "QMatrix": "use qt.QTransform",
    "QStateMachine": "moved to an add-on that Slicer does not ship with Qt 6",
    "QNetworkConfigurationManager": "dropped without a successor",
    "Signal": "signals defined in Python crash in some versions of Slicer: use callbacks",
    "Slot": "not needed: any Python callable can be connected",
    "Property": "properties defined in Python are not supported here: use plain attributes",
}

# (class or one of its bases, name): what to write instead
NAMES = {
    ("QLayout", "margin"): "use setContentsMargins",
    ("QLayout", "setMargin"): "use setContentsMargins",
    ("QLayout", "contentsMargins"): "a method in Qt 5 and a property in Qt 6: remember what you set",
    ("QApplication", "desktop"): "use slicer.app.primaryScreen",
    ("QApplication", "setGlobalStrut"): "dropped without a successor",
    ("QApplication", "globalStrut"): "dropped without a successor",
    ("QApplication", "colorSpec"): "dropped without a successor",
    ("QApplication", "setColorSpec"): "dropped without a successor",
    ("QFontMetrics", "width"): "use horizontalAdvance",
    ("QFontMetricsF", "width"): "use horizontalAdvance",
    ("QSignalMapper", "mapped"): "use a lambda for each button",
    ("QComboBox", "autoCompletion"): "use completer()",
    ("QComboBox", "autoCompletionCaseSensitivity"): "use completer()",
    ("QProcess", "error"): "a signal in Qt 5 and a method in Qt 6: use errorOccurred",
    ("QSettings", "setIniCodec"): "Qt 6 always writes UTF-8",
    ("QSettings", "iniCodec"): "Qt 6 always writes UTF-8",
    ("QWheelEvent", "delta"): "use angleDelta()",
    ("QWheelEvent", "pos"): "use position()",
    ("QLineEdit", "getTextMargins"): "use textMargins()",
    ("QPlainTextEdit", "setTabStopWidth"): "use setTabStopDistance",
    ("QPlainTextEdit", "tabStopWidth"): "use tabStopDistance",
    ("QTextEdit", "setTabStopWidth"): "use setTabStopDistance",
    ("QTextEdit", "tabStopWidth"): "use tabStopDistance",
    ("QFileDialog", "DirectoryOnly"): "use Directory with ShowDirsOnly",
    ("QDate", "shortDayName"): "use qt.QLocale",
    ("QDate", "shortMonthName"): "use qt.QLocale",
    ("Qt", "MidButton"): "use MiddleButton",
    ("Qt", "BackgroundColorRole"): "use BackgroundRole",
    ("Qt", "TextColorRole"): "use ForegroundRole",
    ("Qt", "SystemLocaleDate"): "use qt.QLocale",
}

# signatures that Qt 6 no longer has; connect() would return True in Slicer with Qt 5 and False with Qt 6
SIGNALS = {
    "currentIndexChanged(QString)": "use currentTextChanged(QString)",
    "activated(QString)": "use textActivated(QString)",
    "highlighted(QString)": "use textHighlighted(QString)",
    "buttonClicked(int)": "use idClicked(int)",
    "buttonPressed(int)": "use idPressed(int)",
    "buttonReleased(int)": "use idReleased(int)",
    "buttonToggled(int,bool)": "use idToggled(int,bool)",
    "valueChanged(QString)": "use textChanged(QString)",
    "error(QProcess::ProcessError)": "use errorOccurred(QProcess::ProcessError)",
    "mapped(int)": "use a lambda for each button",
    "mapped(QString)": "use a lambda for each button",
}


def whyClass(name: str) -> str | None:
    """What to say about a class that must not be used; None if it may."""
    return CLASSES.get(name)


def whyName(bases: tuple[str, ...], name: str) -> str | None:
    """What to say about a name on a class with these Qt bases (itself first); None if it may be used."""
    return next((NAMES[base, name] for base in bases if (base, name) in NAMES), None)
