use super::*;

fn own() -> Vec<Own> {
    [
        ("lo", "127.0.0.1"),
        ("docker0", "172.17.0.1"),
        ("wlan0", "10.0.0.7"),
        ("eth0", "192.168.1.5"),
        ("eth0", "2001:db8::5"),
    ]
    .map(|(name, ip)| (name.to_owned(), ip.parse().unwrap()))
    .to_vec()
}

fn door(bound: &[&str], listen: &[Listen]) -> Door {
    let bound: Vec<SocketAddr> = bound.iter().map(|at| at.parse().unwrap()).collect();
    let outside = reached(&bound, listen, &own());
    Door { bound, outside, scheme: "http", is_open: true, own: own() }
}

const PLAIN: Style = Style { blocks: true, colour: false };

#[test]
fn a_screen_for_this_machine_alone_is_told_with_the_tunnel_and_the_file_that_opens_it() {
    let text = door(&["127.0.0.1:8080"], &[]).words(Path::new("/etc/waypost/waypost.toml"), PLAIN);
    for part in [
        "http://127.0.0.1:8080/ on this machine alone.",
        "    ssh -L 8080:127.0.0.1:8080 ",
        "the network of eth0 (192.168.1.5), write into /etc/waypost/conf.d/20-screen.toml:",
        "    listen = [\"127.0.0.1:8080\", \"eth0:8080\"]",
        "sees the yard, every scan and every place, unencrypted",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains('█'), "no code of an address that nobody else reaches: {text}");
}

#[test]
fn an_open_screen_is_told_by_each_address_that_others_reach() {
    let urls = |bound: &[&str], listen: &[Listen]| {
        door(bound, listen).outside.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let eth = Listen::Interface("eth0".to_owned(), 8080);
    assert_eq!(urls(&["127.0.0.1:8080", "[::]:8080"], &[eth]), ["192.168.1.5:8080", "[2001:db8::5]:8080"]);
    assert_eq!(urls(&["0.0.0.0:80"], &[]), ["172.17.0.1:80", "10.0.0.7:80", "192.168.1.5:80"]);
    assert_eq!(urls(&["10.0.0.7:80"], &[]), ["10.0.0.7:80"]);
    let gone = Listen::Interface("eth7".to_owned(), 80);
    let text = door(&["[::]:80"], &[gone]).words(Path::new("/x/waypost.toml"), PLAIN);
    assert!(text.contains("no address in any"), "{text}");
}

#[test]
fn the_code_of_an_address_is_what_the_standard_says_with_its_quiet_zone_and_the_address_as_text() {
    let text = door(&["192.168.1.5:8080"], &[]).words(Path::new("/x/waypost.toml"), PLAIN);
    assert!(
        text.starts_with("http://192.168.1.5:8080/\n") && text.matches("http://192.168.1.5:8080/").count() == 2,
        "{text}"
    );
    assert!(text.lines().all(|line| line.chars().count() < 130), "{text}");
    let code = QrCode::encode_text("http://192.168.1.5:8080/", QrCodeEcc::Low).unwrap();
    // Version 2: what fits a terminal of 80 by 24.
    assert_eq!(code.size(), 25);
    let blocks = paint(&code, PLAIN);
    let rows: Vec<Vec<char>> = blocks.lines().map(|line| line.chars().collect()).collect();
    assert!(rows.len() == 17 && rows.iter().all(|row| row.len() == 33), "{blocks}");
    assert!(rows[..2].iter().flatten().all(|c| *c == '█'), "the quiet zone: {blocks}");
    // The eye at the upper left: seven dark modules, and a light one within.
    assert_eq!(rows[2][4..11], [' ', '▄', '▄', '▄', '▄', '▄', ' '], "{blocks}");
    let signs = paint(&code, Style { blocks: false, colour: false });
    assert!(signs.is_ascii() && signs.lines().count() == 33 && signs.lines().all(|line| line.len() == 66), "{signs}");
    let coloured = paint(&code, Style { blocks: true, colour: true });
    assert!(coloured.lines().all(|line| line.starts_with("\x1b[97;40m") && line.ends_with("\x1b[0m")), "{coloured}");
}

#[test]
fn a_word_that_is_no_plain_name_is_not_put_into_a_line_for_a_shell() {
    assert!(is_plain("pi") && is_plain("gw-07.yard.example"));
    assert!(!is_plain("") && !is_plain("a b") && !is_plain("x;reboot") && !is_plain("$(x)"));
}
