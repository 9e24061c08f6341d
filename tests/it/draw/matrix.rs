//! GS1 DataMatrix of 22 by 22 modules: 30 code words of data, 20 of correction. Source: ISO/IEC 16022, ECC 200.

const DATA: usize = 30;
const CORRECTION: usize = 20;
/// Modules of a side inside the frame.
const INSIDE: usize = 20;
/// Modules of a side.
pub const SIDE: usize = INSIDE + 2;
const FNC1: u8 = 232;
const PAD: u8 = 129;

/// The dark modules, row by row from the top.
pub fn data_matrix(text: &str) -> Vec<Vec<bool>> {
    let mut words = words(text);
    words.extend(correction(&words));
    let inside = placed(&words);
    let module = |row: usize, column: usize| match (row, column) {
        (_, 0) | (21, _) => true,
        (0, _) => column.is_multiple_of(2),
        (_, 21) => !row.is_multiple_of(2),
        _ => inside[row - 1][column - 1],
    };
    (0..SIDE).map(|row| (0..SIDE).map(|column| module(row, column)).collect()).collect()
}

/// ASCII encodation behind a leading FNC1; GS is FNC1, two digits are a word.
fn words(text: &str) -> Vec<u8> {
    let mut words = vec![FNC1];
    let mut rest = text.as_bytes();
    while let Some(first) = rest.first() {
        let taken = match rest {
            [tens, ones, ..] if tens.is_ascii_digit() && ones.is_ascii_digit() => {
                words.push(130 + (tens - b'0') * 10 + (ones - b'0'));
                2
            }
            [0x1d, ..] => {
                words.push(FNC1);
                1
            }
            _ => {
                words.push(first + 1);
                1
            }
        };
        rest = &rest[taken..];
    }
    assert!(words.len() <= DATA, "{} words, {DATA} fit", words.len());
    if words.len() < DATA {
        words.push(PAD);
    }
    while words.len() < DATA {
        // Pads are shuffled by their place, so that they make no pattern.
        let sum = usize::from(PAD) + (149 * (words.len() + 1)) % 253 + 1;
        words.push(u8::try_from(if sum <= 254 { sum } else { sum - 254 }).unwrap());
    }
    words
}

/// Multiplies in the field of 256 elements over x^8 + x^5 + x^3 + x^2 + 1.
fn product(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b > 0 {
        if b & 1 == 1 {
            product ^= a;
        }
        let carry = a & 0x80 != 0;
        a <<= 1;
        if carry {
            a ^= 0x2d;
        }
        b >>= 1;
    }
    product
}

/// The Reed-Solomon words behind the data: the rest of a division by the polynomial whose roots are 2^1 to 2^20.
fn correction(data: &[u8]) -> Vec<u8> {
    let mut divisor = vec![1];
    let mut root = 1;
    for _ in 0..CORRECTION {
        root = product(root, 2);
        let shifted: Vec<u8> = divisor.iter().map(|one| product(*one, root)).collect();
        divisor.push(0);
        divisor[1..].iter_mut().zip(shifted).for_each(|(one, other)| *one ^= other);
    }
    let mut rest = data.to_vec();
    rest.resize(data.len() + CORRECTION, 0);
    for at in 0..data.len() {
        let factor = rest[at];
        for (one, other) in rest[at..].iter_mut().zip(&divisor) {
            *one ^= product(*other, factor);
        }
    }
    rest.split_off(data.len())
}

/// The words on the inside of the frame, along the diagonals of annex F of the standard.
fn placed(words: &[u8]) -> Vec<Vec<bool>> {
    let mut grid = vec![vec![None; INSIDE]; INSIDE];
    let side = i32::try_from(INSIDE).unwrap();
    let mut words = words.iter();
    let mut put = |grid: &mut Vec<Vec<Option<bool>>>, places: [(i32, i32); 8]| {
        let word = *words.next().expect("a place has its word");
        for (bit, (mut row, mut column)) in places.into_iter().enumerate() {
            // What leaves the grid comes back on the other side, moved by how its side divides by 8.
            if row < 0 {
                row += side;
                column += 4 - (side + 4) % 8;
            }
            if column < 0 {
                column += side;
                row += 4 - (side + 4) % 8;
            }
            grid[usize::try_from(row).unwrap()][usize::try_from(column).unwrap()] = Some(word >> (7 - bit) & 1 == 1);
        }
    };
    // The eight bits of a word around its last one, the highest first.
    let around = |row: i32, column: i32| {
        [(-2, -2), (-2, -1), (-1, -2), (-1, -1), (-1, 0), (0, -2), (0, -1), (0, 0)].map(|(r, c)| (row + r, column + c))
    };
    // Where the walk meets the lower left corner, a word lies in two corners. A side of 20 has no other such word.
    let end = side - 1;
    let corners = [(end, 0), (end, 1), (end, 2), (0, end - 1), (0, end), (1, end), (2, end), (3, end)];
    let is_free = |grid: &[Vec<Option<bool>>], row: i32, column: i32| {
        grid[usize::try_from(row).unwrap()][usize::try_from(column).unwrap()].is_none()
    };
    let (mut row, mut column) = (4, 0);
    while row < side || column < side {
        if (row, column) == (side, 0) {
            put(&mut grid, corners);
        }
        loop {
            if row < side && column >= 0 && is_free(&grid, row, column) {
                put(&mut grid, around(row, column));
            }
            row -= 2;
            column += 2;
            if row < 0 || column >= side {
                break;
            }
        }
        row += 1;
        column += 3;
        loop {
            if row >= 0 && column < side && is_free(&grid, row, column) {
                put(&mut grid, around(row, column));
            }
            row += 2;
            column -= 2;
            if row >= side || column < 0 {
                break;
            }
        }
        row += 3;
        column += 1;
    }
    grid.into_iter().map(|row| row.into_iter().map(Option::unwrap_or_default).collect()).collect()
}
