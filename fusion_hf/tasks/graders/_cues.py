"""Words that announce an answer, in several languages."""

import re

OTHER_WORDS = (
    "antwort", "lösung", "respuesta", "réponse", "reponse", "risposta", "resposta", "antwoord",
    "svar", "odpowiedź", "odpověď", "cevap", "yanıt", "ответ", "відповідь", "答案",
    "正解", "答え", "回答", "答", "정답", "답", "jawaban", "đáp án", "उत्तर",
    "الجواب", "الإجابة", "απάντηση", "vastaus", "válasz", "răspuns",
)  # fmt: skip
_LINK = (
    r"(?:\s{0,3}(?:correcta|correcte|correta|corretta|final|finale|lautet|ist|es|est|è|é|är|is|jest|je|:|=|-|是|为"
    r"|為|は|은|는|应该|應該|应|选|選)){0,4}"
)
OTHER_CUE = re.compile(
    rf"(?:\b(?:{'|'.join(w for w in OTHER_WORDS if w[0] < chr(0x900))})\b"
    rf"|(?:{'|'.join(w for w in OTHER_WORDS if w[0] >= chr(0x900))}))"
    rf"{_LINK}\s{{0,3}}[:：]?\s{{0,3}}",
    re.I,
)
