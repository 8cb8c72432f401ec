use super::*;

/// Answers every name with the same addresses.
struct Always(Vec<IpAddr>);

#[async_trait]
impl Lookup for Always {
    async fn lookup(&self, _: &str) -> std::io::Result<Vec<IpAddr>> {
        if self.0.is_empty() { Err(std::io::ErrorKind::NotFound.into()) } else { Ok(self.0.clone()) }
    }
}

fn guard(answers: &[&str]) -> Guard {
    let answers = answers.iter().map(|text| text.parse().unwrap()).collect();
    Guard::with_lookup(false, Arc::new(Always(answers)))
}

/// The same few places, in every spelling that a URL parser somewhere understands.
const PRIVATE: &str = "
    http://127.0.0.1/ http://127.0.0.1:8080/hook https://127.0.0.1 http://127.0.0.1./
    http://2130706433/ http://0x7f000001/ http://0x7F.0.0.1/ http://0x7f.1/ http://017700000001/ http://0177.0.0.1/
    http://0177.0.0.01/ http://127.1/ http://127.0.1/ http://127.0.0.0x1/ http://00000177.0.0.1/
    http://%31%32%37.0.0.1/ http://127%2e0.0.1/ http://１２７.0.0.1/ http://①②⑦.⓪.⓪.①/ http://127。0。0。1/
    http:\\\\127.0.0.1\\ http:127.0.0.1 http:/127.0.0.1 http:///127.0.0.1/ hTTp://127.0.0.1/
    http://0/ http://0.0.0.0/ http://0x0/ http://00/
    http://10.0.0.1/ http://167772161/ http://012.0.0.1/ http://10.1/
    http://172.16.0.1/ http://172.31.255.255/ http://192.168.1.1/ http://192.168.257/ http://3232235777/
    http://169.254.169.254/latest/meta-data/ http://2852039166/ http://0xa9fea9fe/ http://0251.0376.0251.0376/
    http://169.254.43518/ http://169.16689662/
    http://100.64.0.1/ http://100.100.100.200/ http://168.63.129.16/ http://192.0.0.192/ http://198.18.0.1/
    http://224.0.0.1/ http://255.255.255.255/ http://4294967295/ http://203.0.113.7/
    http://[::1]/ http://[::]/ http://[0:0:0:0:0:0:0:1]/ http://[::1]:8080/
    http://[::ffff:127.0.0.1]/ http://[::ffff:7f00:1]/ http://[::FFFF:A9FE:A9FE]/ http://[::127.0.0.1]/
    http://[64:ff9b::127.0.0.1]/ http://[64:ff9b::7f00:1]/ http://[64:ff9b:1::a00:1]/
    http://[2002:7f00:1::]/ http://[2001:0:7f00:1::]/ http://[fd00:ec2::254]/ http://[fe80::1]/ http://[fc00::1]/
    http://[ff02::1]/ http://[2001:db8::1]/ http://[3fff::1]/ http://[fec0::1]/
    http://localhost/ http://LOCALHOST/ http://localhost./ http://a.localhost/ http://%6cocalhost/";

const MALFORMED: &str = "
    ftp://example.com/ file:///etc/passwd gopher://127.0.0.1/ javascript:alert(1) data:text/plain,hi example.com
    //example.com/ http:// https://? http://[::1 http://[fe80::1%25eth0]/ http://256.256.256.256/ http://1.2.3.4.5/
    http://0x100000000/ http://example.com:99999/ http://ex%00ample.com/ http://exa<mple.com/ unix:/var/run/docker.sock";

const WITH_CREDENTIALS: &str = "
    http://user@example.com/ http://user:pass@example.com/ http://:pass@example.com/
    http://example.com@127.0.0.1/ http://example.com%40127.0.0.1@127.0.0.1/ http://example.com:80@127.0.0.1:8080/
    http://foo@bar@127.0.0.1/";

/// Whoever splits a URL at the wrong place sees another host here than the one that is connected to.
const PUBLIC: &str = "
    https://example.com/hook http://example.com:8080/hook?to=127.0.0.1 https://example.com/http://127.0.0.1/
    https://example.com/#@127.0.0.1/ https://example.com?@127.0.0.1/ https://127.0.0.1.example.com/
    https://93.184.216.34/ https://[2606:2800:220:1:248:1893:25c8:1946]/ https://localhost.example.com/ https://bücher.example/";

#[test]
fn private_addresses_are_seen_through_every_spelling() {
    let guard = guard(&[]);
    for url in PRIVATE.split_whitespace() {
        assert_eq!(guard.parse(url).map(String::from), Err(Refused::Private), "{url}");
    }
    assert!(PRIVATE.split_whitespace().count() >= 70);
}

#[test]
fn what_is_no_address_of_the_web_is_refused() {
    let guard = guard(&[]);
    for url in MALFORMED.split_whitespace() {
        assert_eq!(guard.parse(url).map(String::from), Err(Refused::Form), "{url}");
    }
    for url in WITH_CREDENTIALS.split_whitespace() {
        assert_eq!(guard.parse(url).map(String::from), Err(Refused::Credentials), "{url}");
    }
    for hidden in ["http://127.0.0\n.1/", " https://example.com/", "https://exam\tple.com/", ""] {
        assert_eq!(guard.parse(hidden).map(String::from), Err(Refused::Form), "{hidden:?}");
    }
    let long = format!("https://example.com/{}", "a".repeat(URL_MAX_CHARS));
    assert_eq!(guard.parse(&long).map(String::from), Err(Refused::Form));
}

#[tokio::test]
async fn public_addresses_pass_however_they_look() {
    let guard = guard(&["93.184.216.34"]);
    for url in PUBLIC.split_whitespace() {
        assert_eq!(guard.check(url).await, Ok(()), "{url}");
    }
}

#[tokio::test]
async fn a_name_is_judged_by_all_of_its_addresses() {
    let url = "https://hook.example/";
    for private in
        ["127.0.0.1", "10.0.0.8", "169.254.169.254", "::1", "fd00::1", "::ffff:10.0.0.8", "64:ff9b::1"]
    {
        assert_eq!(guard(&[private]).check(url).await, Err(Refused::Private), "{private}");
        assert_eq!(guard(&["93.184.216.34", private]).check(url).await, Err(Refused::Private), "{private}");
    }
    assert_eq!(guard(&["93.184.216.34", "2606:4700::1"]).check(url).await, Ok(()));
}

#[tokio::test]
async fn a_name_without_an_address_may_be_written_down_but_not_connected_to() {
    let guard = guard(&[]);
    assert_eq!(guard.check("https://not-yet.example/").await, Ok(()));
    assert!(matches!(guard.addresses("not-yet.example").await, Err(LookupError::Unknown(_))));
}

#[tokio::test]
async fn development_may_reach_everything_that_is_a_url() {
    let guard = Guard::with_lookup(true, Arc::new(Always(vec![IpAddr::from([127, 0, 0, 1])])));
    for url in ["http://127.0.0.1:8080/", "http://[::1]/", "http://localhost/", "http://hook.example/"] {
        assert_eq!(guard.check(url).await, Ok(()), "{url}");
    }
    assert_eq!(guard.check("ftp://127.0.0.1/").await, Err(Refused::Form));
    assert_eq!(guard.check("http://a:b@127.0.0.1/").await, Err(Refused::Credentials));
}
