//! Bars: a code's text to the widths of its bars and spaces, in turns, beginning with a bar. Unit: modules.

/// Code 128, values 0 to 106; three bars and three spaces each, the stop has a bar more. Source: ISO/IEC 15417.
const CODE_128: &str = "212222 222122 222221 121223 121322 131222 122213 122312 132212 221213 221312 231212 112232 122132 \
    122231 113222 123122 123221 223211 221132 221231 213212 223112 312131 311222 321122 321221 312212 322112 322211 \
    212123 212321 232121 111323 131123 131321 112313 132113 132311 211313 231113 231311 112133 112331 132131 113123 \
    113321 133121 313121 211331 231131 213113 213311 213131 311123 311321 331121 312113 312311 332111 314111 221411 \
    431111 111224 111422 121124 121421 141122 141221 112214 112412 122114 122411 142112 142211 241211 221114 413111 \
    241112 134111 111242 121142 121241 114212 124112 124211 411212 421112 421211 212141 214121 412121 111143 111341 \
    131141 114113 114311 411113 411311 113141 114131 311141 411131 211412 211214 211232 2331112";
const CODE_C: usize = 99;
const CODE_B: usize = 100;
const FNC1: usize = 102;
const START_B: usize = 104;
const START_C: usize = 105;
const STOP: usize = 106;

/// Code 128 of printable ASCII; with `gs1` it begins with FNC1, and GS inside is FNC1.
pub fn code_128(text: &str, gs1: bool) -> Vec<u32> {
    let bytes = text.as_bytes();
    let digits = |at: usize| bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut in_c = digits(0) >= 4;
    let mut values = vec![if in_c { START_C } else { START_B }];
    values.extend(gs1.then_some(FNC1));
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == 0x1d {
            values.push(FNC1);
            at += 1;
        } else if in_c && digits(at) >= 2 {
            values.push(usize::from(bytes[at] - b'0') * 10 + usize::from(bytes[at + 1] - b'0'));
            at += 2;
        } else if in_c {
            values.push(CODE_B);
            in_c = false;
        } else if digits(at) >= 4 && digits(at).is_multiple_of(2) {
            values.push(CODE_C);
            in_c = true;
        } else {
            values.push(usize::from(bytes[at] - b' '));
            at += 1;
        }
    }
    let sum: usize = values[0] + values.iter().enumerate().map(|(place, value)| place * value).sum::<usize>();
    values.extend([sum % 103, STOP]);
    let patterns: Vec<&str> = CODE_128.split_whitespace().collect();
    values.iter().flat_map(|value| patterns[*value].bytes().map(|width| u32::from(width - b'0'))).collect()
}

const EAN_LEFT: [&str; 10] = ["3211", "2221", "2122", "1411", "1132", "1231", "1114", "1312", "1213", "3112"];
/// Which of the six digits on the left are mirrored, by the first digit.
const EAN_FIRST: [&str; 10] =
    ["000000", "001011", "001101", "001110", "010011", "011001", "011100", "010101", "010110", "011010"];

/// EAN-13 of 13 digits. A UPC-A is the one that begins with 0.
pub fn ean_13(digits: &str) -> Vec<u32> {
    let digits: Vec<usize> = digits.bytes().map(|digit| usize::from(digit - b'0')).collect();
    let widths = |pattern: &str| pattern.bytes().map(|width| u32::from(width - b'0')).collect::<Vec<_>>();
    let mut bars = vec![1, 1, 1];
    for (digit, mirrored) in digits[1..7].iter().zip(EAN_FIRST[digits[0]].bytes()) {
        let mut pattern = widths(EAN_LEFT[*digit]);
        if mirrored == b'1' {
            pattern.reverse();
        }
        bars.extend(pattern);
    }
    bars.extend([1, 1, 1, 1, 1]);
    digits[7..].iter().for_each(|digit| bars.extend(widths(EAN_LEFT[*digit])));
    bars.extend([1, 1, 1]);
    bars
}

const ITF: [&str; 10] = ["11331", "31113", "13113", "33111", "11313", "31311", "13311", "11133", "31131", "13131"];

/// Interleaved 2 of 5 of an even number of digits: the first of two is in the bars, the second in the spaces.
pub fn itf(digits: &str) -> Vec<u32> {
    let pattern = |digit: u8| ITF[usize::from(digit - b'0')].bytes().map(|width| u32::from(width - b'0'));
    let mut bars = vec![1, 1, 1, 1];
    for pair in digits.as_bytes().chunks_exact(2) {
        bars.extend(pattern(pair[0]).zip(pattern(pair[1])).flat_map(|(bar, space)| [bar, space]));
    }
    bars.extend([3, 1, 1]);
    bars
}

/// Code 39: a character and its five bars and four spaces, wide ones 3. Only what the sheet holds.
const CODE_39: [(char, &str); 13] = [
    ('*', "131131311"),
    ('-', "131111313"),
    ('8', "311311311"),
    ('A', "311113113"),
    ('E', "311133111"),
    ('O', "311131131"),
    ('P', "113131131"),
    ('S', "113111331"),
    ('T', "111131331"),
    ('W', "333111111"),
    ('Y', "331131111"),
    ('0', "111331311"),
    ('1', "311311113"),
];

/// Code 39 between its stars, a narrow space between two characters.
pub fn code_39(text: &str) -> Vec<u32> {
    let mut bars = Vec::new();
    for c in format!("*{text}*").chars() {
        let (_, pattern) = CODE_39.iter().find(|(one, _)| *one == c).unwrap_or_else(|| panic!("no bars for {c:?}"));
        bars.extend(pattern.bytes().map(|width| u32::from(width - b'0')));
        bars.push(1);
    }
    bars.pop();
    bars
}

#[test]
fn every_pattern_has_its_length() {
    let patterns: Vec<&str> = CODE_128.split_whitespace().collect();
    let length = |pattern: &str| pattern.bytes().map(|width| u32::from(width - b'0')).sum::<u32>();
    assert_eq!(patterns.len(), 107);
    assert!(patterns[..106].iter().all(|pattern| length(pattern) == 11));
    assert!(EAN_LEFT.iter().all(|pattern| length(pattern) == 7));
    assert!(ITF.iter().all(|pattern| length(pattern) == 9));
    assert!(CODE_39.iter().all(|(_, pattern)| length(pattern) == 15));
}
