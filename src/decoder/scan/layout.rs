//! Keyboard layouts: which character each key types, and what an accent and a letter make together.
//!
//! Scanners pretend to be the keyboards that Windows knows under these countries. Plain and shifted, XKB has the same
//! characters, and a test compares them; on the level of `AltGr` the two differ, and Windows is followed.

/// A layout of keys, named as in `layout` of a `[[scanner]]` table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// United States.
    #[default]
    Us,
    /// United Kingdom.
    Uk,
    /// Germany.
    De,
    /// France.
    Fr,
    /// Spain.
    Es,
    /// Czechia, QWERTZ.
    Cz,
}

impl Layout {
    /// Every layout.
    pub const ALL: [Self; 6] = [Self::Us, Self::Uk, Self::De, Self::Fr, Self::Es, Self::Cz];

    /// The word in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Us => "us",
            Self::Uk => "uk",
            Self::De => "de",
            Self::Fr => "fr",
            Self::Es => "es",
            Self::Cz => "cz",
        }
    }

    /// The layout of a word of the configuration.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|layout| layout.as_str() == word)
    }

    /// Whether the right Alt key is `AltGr`, a level of its own.
    pub(super) const fn has_altgr(self) -> bool {
        self.keys().levels.len() > 2
    }

    /// What a key types on a level (0 plain, 1 shift, 2 `AltGr`, 3 both), and whether it is an accent that waits for its letter.
    pub(super) fn typed(self, key: u16, level: usize) -> Option<(char, bool)> {
        let place = |row: &&[u16]| row.iter().position(|code| *code == key);
        let (row, at) = ROWS.iter().enumerate().find_map(|(row, codes)| Some((row, place(codes)?)))?;
        let typed = self.keys().levels.get(level)?[row].chars().nth(at).filter(|c| *c != ' ')?;
        Some((typed, self.keys().dead.get(level).is_some_and(|dead| dead.contains(typed))))
    }

    /// What the decimal key of the number pad types.
    pub(super) const fn point(self) -> char {
        match self {
            Self::De | Self::Cz => ',',
            Self::Us | Self::Uk | Self::Fr | Self::Es => '.',
        }
    }

    const fn keys(self) -> &'static Keys {
        match self {
            Self::Us => &US,
            Self::Uk => &UK,
            Self::De => &DE,
            Self::Fr => &FR,
            Self::Es => &ES,
            Self::Cz => &CZ,
        }
    }
}

/// The keys that type characters, by the codes of `linux/input-event-codes.h`, as they lie on the desk: from the key left
/// of 1, from Q, from A with the key beside Enter, and from the key between shift and Z, which American keyboards lack.
const ROWS: [&[u16]; 4] = [
    &[41, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13],
    &[16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27],
    &[30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 43],
    &[86, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53],
];

/// What the rows type on each level, a character a key, a space where a key types nothing; and which of them are accents that wait.
struct Keys {
    levels: &'static [[&'static str; 4]],
    dead: &'static [&'static str],
}

const US: Keys = Keys {
    levels: &[
        ["`1234567890-=", "qwertyuiop[]", "asdfghjkl;'\\", " zxcvbnm,./"],
        ["~!@#$%^&*()_+", "QWERTYUIOP{}", "ASDFGHJKL:\"|", " ZXCVBNM<>?"],
    ],
    dead: &[],
};

const UK: Keys = Keys {
    levels: &[
        ["`1234567890-=", "qwertyuiop[]", "asdfghjkl;'#", "\\zxcvbnm,./"],
        ["¬!\"£$%^&*()_+", "QWERTYUIOP{}", "ASDFGHJKL:@~", "|ZXCVBNM<>?"],
        ["¦   €        ", "  é   úíó   ", "á          \\", "           "],
        ["             ", "  É   ÚÍÓ   ", "Á          |", "           "],
    ],
    dead: &[],
};

const DE: Keys = Keys {
    levels: &[
        ["^1234567890ß´", "qwertzuiopü+", "asdfghjklöä#", "<yxcvbnm,.-"],
        ["°!\"§$%&/()=?`", "QWERTZUIOPÜ*", "ASDFGHJKLÖÄ'", ">YXCVBNM;:_"],
        ["  ²³   {[]}\\ ", "@ €        ~", "            ", "|      µ   "],
    ],
    dead: &["^´", "`"],
};

const FR: Keys = Keys {
    levels: &[
        ["²&é\"'(-è_çà)=", "azertyuiop^$", "qsdfghjklmù*", "<wxcvbn,;:!"],
        [" 1234567890°+", "AZERTYUIOP¨£", "QSDFGHJKLM%µ", ">WXCVBN?./§"],
        ["  ~#{[|`\\^@]}", "  €        ¤", "            ", "           "],
    ],
    dead: &["^", "¨", "~`"],
};

const ES: Keys = Keys {
    levels: &[
        ["º1234567890'¡", "qwertyuiop`+", "asdfghjklñ´ç", "<zxcvbnm,.-"],
        ["ª!\"·$%&/()=?¿", "QWERTYUIOP^*", "ASDFGHJKLÑ¨Ç", ">ZXCVBNM;:_"],
        ["\\|@#~€¬      ", "  €       []", "          {}", "           "],
    ],
    dead: &["`´", "^¨", "~"],
};

const CZ: Keys = Keys {
    levels: &[
        [";+ěščřžýáíé=´", "qwertzuiopú)", "asdfghjklů§¨", "\\yxcvbnm,.-"],
        ["°1234567890%ˇ", "QWERTZUIOP/(", "ASDFGHJKL\"!'", "|YXCVBNM?:_"],
        [" ~ˇ^˘°˛`˙´˝¨¸", "\\|€       ÷×", " đĐ[]  łŁ$ß¤", "  #&@{} <>*"],
    ],
    dead: &["´¨", "°ˇ", "ˇ^˘°˛˙´˝¨¸"],
};

/// Each accent, the letters that it may stand on, and what they are together.
const ACCENTS: &[(char, &str, &str)] = &[
    ('´', "aceilnorsuyzACEILNORSUYZ", "áćéíĺńóŕśúýźÁĆÉÍĹŃÓŔŚÚÝŹ"),
    ('`', "aeiouAEIOU", "àèìòùÀÈÌÒÙ"),
    ('^', "aeiouAEIOU", "âêîôûÂÊÎÔÛ"),
    ('¨', "aeiouyAEIOU", "äëïöüÿÄËÏÖÜ"),
    ('~', "anoANO", "ãñõÃÑÕ"),
    ('ˇ', "cdelnrstzCDELNRSTZ", "čďěľňřšťžČĎĚĽŇŘŠŤŽ"),
    ('˘', "aA", "ăĂ"),
    ('°', "uU", "ůŮ"),
    ('˛', "aeAE", "ąęĄĘ"),
    ('˙', "zZ", "żŻ"),
    ('˝', "ouOU", "őűŐŰ"),
    ('¸', "cstCST", "çşţÇŞŢ"),
];

/// The letter with its accent; none when they do not go together.
pub fn composed(accent: char, letter: char) -> Option<char> {
    let (_, letters, together) = ACCENTS.iter().find(|(one, ..)| *one == accent)?;
    together.chars().nth(letters.chars().position(|one| one == letter)?)
}
