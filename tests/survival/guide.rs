//! `docs/mobile.md` says the truth: its commands, its JavaScript and its Kotlin are run as they stand there.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;

use crate::{
    common::{
        Random, hex,
        http::Answer,
        server::{Server, Setup},
        sha256,
        slots::SECRET,
    },
    site,
};

const PAGE: &str = include_str!("../../docs/mobile.md");

/// The blocks in this language below a heading of the page.
#[track_caller]
fn blocks(heading: &str, language: &str) -> Vec<String> {
    let (_, below) = PAGE.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let section = below.split("\n## ").next().unwrap();
    let opening = format!("\n```{language}\n");
    let blocks =
        section.split(&opening).skip(1).map(|rest| rest.split("\n```").next().unwrap().to_owned() + "\n");
    blocks.collect()
}

/// PUT and GET URL of `plimsoll slot`.
fn slot(setup: &Setup, server: &Server, size: usize) -> (String, String) {
    let output = setup
        .command()
        .env("PLIMSOLL_SERVER__PUBLIC_URL", format!("http://{}", server.address))
        .args(["slot", "--size", &size.to_string(), "photo.jpg"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let url = |method: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(method)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("no {method}: {text}")).to_owned()
    };
    (url("PUT"), url("GET"))
}

/// Run a program that the tests need.
fn run(program: &str, folder: &Path, arguments: &[&str]) -> Output {
    match Command::new(program).args(arguments).current_dir(folder).output() {
        Ok(output) => output,
        Err(error) => panic!("{program} cannot be started: {error}. Install it with `make deps`."),
    }
}

/// Downloads it, and compares.
#[track_caller]
fn is_there(server: &Server, get_url: &str, photo: &[u8]) -> Answer {
    let path = get_url.split_once(&server.address.to_string()).expect("a URL of the server").1;
    let answer = site::ask(server.address, "GET", path, &[], b"").expect(200);
    assert_eq!(sha256(&answer.body), sha256(photo));
    answer
}

#[test]
fn the_commands_resume_a_transfer_that_was_cut() {
    let setup = Setup::new();
    let server = setup.start();
    let folder = tempfile::tempdir().unwrap();
    let photo = Random::new(363).bytes(600 * 1024);
    fs::write(folder.path().join("photo.jpg"), &photo).unwrap();
    let (put_url, get_url) = slot(&setup, &server, photo.len());

    let [upload, question] = blocks("With curl", "sh").try_into().expect("two blocks");
    // What the reader does by hand: the transfer is stopped half-way.
    assert_eq!(upload.matches("\ncurl -X PUT --limit-rate 100k ").count(), 1, "{upload}");
    let upload = upload.replace("\ncurl -X PUT --limit-rate ", "\ntimeout 2 curl -X PUT --limit-rate ");
    let question = question.replace("https://upload.example.org", &format!("http://{}", server.address));
    assert!(question.contains(&server.address.to_string()), "{question}");
    let script = format!("URL='{put_url}'\n{upload}\necho\necho \"offset=$OFFSET\"\n{question}");
    let output = run("bash", folder.path(), &["-u", "-c", &script]);
    let (told, errors) =
        (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr));

    assert!(told.contains("HTTP/1.1 201"), "{told}\n{errors}");
    let offset = told.lines().find_map(|line| line.strip_prefix("offset=")).expect("the offset is printed");
    let offset: usize = offset.parse().unwrap_or_else(|_| panic!("no offset: {told}"));
    assert!((1..photo.len()).contains(&offset), "cut at {offset}, which is not half-way");
    assert_eq!(is_there(&server, &get_url, &photo).header("content-type"), Some("image/jpeg"));
    let session: Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&session["uploads"][0]["percent"], &session["uploads"][0]["status"]),
        (&100.into(), &"complete".into())
    );
    assert_eq!(session["refreshes_used"], 1, "two recoveries within an hour cost one: {session}");
}

/// A way to the server that breaks once, when `cut_at` bytes have passed; how many connections came.
fn breaking_line(server: SocketAddr, cut_at: usize) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (count, passed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let connections = Arc::clone(&count);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, upstream) = (client.unwrap(), TcpStream::connect(server).unwrap());
            count.fetch_add(1, Ordering::SeqCst);
            let (from_client, to_server) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
            let passed = Arc::clone(&passed);
            std::thread::spawn(move || {
                pass(from_client, to_server, |bytes| {
                    let before = passed.fetch_add(bytes, Ordering::SeqCst);
                    before < cut_at && before + bytes >= cut_at
                });
            });
            std::thread::spawn(move || pass(upstream, client, |_| false));
        }
    });
    (address, connections)
}

fn pass(mut from: TcpStream, mut to: TcpStream, is_cut: impl Fn(usize) -> bool) {
    let mut piece = [0; 16 * 1024];
    while let Ok(bytes @ 1..) = from.read(&mut piece) {
        if is_cut(bytes) || to.write_all(&piece[..bytes]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// A client of the page in a folder with the file: one program, which is given a URL and ends well when the upload has.
struct Client {
    folder: tempfile::TempDir,
    /// The program, and its arguments before the URL.
    command: Vec<String>,
}

impl Client {
    /// `upload(URL, file)` in a program for Node, which prints the session's id.
    fn javascript(photo: &[u8]) -> Self {
        let [upload] = blocks("In JavaScript", "js").try_into().expect("one block");
        // What a browser has and Node has not: the event that the network is back.
        let script = format!(
            "globalThis.addEventListener ??= () => {{}};\n{upload}\n\
             const file = await (await import('node:fs')).openAsBlob('photo.jpg', {{ type: 'image/jpeg' }});\n\
             console.log(await upload(process.argv[2], file));\n"
        );
        let this = Self::new(photo, &["node", "--no-warnings", "upload.mjs"]);
        fs::write(this.folder.path().join("upload.mjs"), script).unwrap();
        this
    }

    /// The class in a program that calls it as the page says, compiled with the Kotlin and OkHttp of `kotlin/pom.xml`.
    fn kotlin(photo: &[u8]) -> Self {
        let [class] = blocks("In Kotlin, with OkHttp", "kotlin").try_into().expect("one block");
        let this = Self::new(photo, &["java", "-cp", "target/classes:target/libraries/*", "MainKt"]);
        let sources = this.folder.path().join("src/main/kotlin");
        fs::create_dir_all(&sources).unwrap();
        fs::write(this.folder.path().join("pom.xml"), include_str!("kotlin/pom.xml")).unwrap();
        fs::write(sources.join("Main.kt"), format!("{}\n{class}", include_str!("kotlin/Main.kt"))).unwrap();
        let built = run("mvn", this.folder.path(), &["-q", "-B", "package"]);
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stdout));
        this
    }

    fn new(photo: &[u8], command: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("photo.jpg"), photo).unwrap();
        Self { folder, command: command.iter().map(ToString::to_string).collect() }
    }

    fn upload(&self, url: &str) -> Output {
        let mut arguments: Vec<&str> = self.command.iter().skip(1).map(String::as_str).collect();
        arguments.push(url);
        run(&self.command[0], self.folder.path(), &arguments)
    }

    /// Behind a connection that breaks half-way it ends with the whole file, under one session.
    fn survives_a_broken_connection(&self, photo: &[u8]) {
        let setup = Setup::new();
        let server = setup.start();
        // A slot that signs its media type: each request has to name it.
        let (put_url, get_url) = typed_slot(&server, photo.len());
        let (line, connections) = breaking_line(server.address, photo.len() / 2);
        let output = self.upload(&put_url.replace(&server.address.to_string(), &line.to_string()));
        let (told, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{told}\n{errors}");
        assert_eq!(is_there(&server, &get_url, photo).header("content-type"), Some("image/jpeg"));
        assert!(connections.load(Ordering::SeqCst) > 1, "the line broke");
        let id = ("X-Session-ID", told.trim());
        let session = site::ask(server.address, "GET", "/session", &[id], b"").expect(200);
        let session: Value = serde_json::from_slice(&session.body).unwrap();
        assert_eq!(
            session["uploads"].as_array().unwrap().len(),
            1,
            "one session from the beginning: {session}"
        );
        assert_eq!(session["refreshes_used"], 0, "its token was good all the time: {session}");
    }

    /// An upload that is refused is reported with the status, and is not tried for ever.
    fn reports_a_refusal(&self) {
        let setup = Setup::new();
        let server = setup.start();
        let (put_url, _) = typed_slot(&server, 1);
        let output = self.upload(&put_url);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && told.contains("refused: 403"), "{told}");
    }

    fn uploads_an_empty_file(&self) {
        let setup = Setup::new();
        let server = setup.start();
        let (put_url, get_url) = typed_slot(&server, 0);
        for attempt in ["first", "second"] {
            let output = self.upload(&put_url);
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{attempt}: {errors}");
        }
        is_there(&server, &get_url, b"");
    }
}

/// PUT and GET URL of a slot as mod_http_upload_external mints it in its protocol v2.
fn typed_slot(server: &Server, size: usize) -> (String, String) {
    let path = "guide/photo.jpg";
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{path}\0{size}\0image/jpeg").as_bytes());
    let get_url = format!("http://{}/upload/{path}", server.address);
    (format!("{get_url}?v2={}", hex(&mac.finalize().into_bytes())), get_url)
}

fn photo() -> Vec<u8> {
    Random::new(17).bytes(4 * 1024 * 1024)
}

#[test]
fn the_javascript_goes_on_behind_a_broken_connection() {
    let client = Client::javascript(&photo());
    client.survives_a_broken_connection(&photo());
    client.reports_a_refusal();
}

#[test]
fn the_javascript_uploads_an_empty_file() {
    Client::javascript(b"").uploads_an_empty_file();
}

#[test]
fn the_kotlin_goes_on_behind_a_broken_connection_and_uploads_an_empty_file() {
    let client = Client::kotlin(&photo());
    client.survives_a_broken_connection(&photo());
    client.reports_a_refusal();
    fs::write(client.folder.path().join("photo.jpg"), b"").unwrap();
    client.uploads_an_empty_file();
}
