// Ends of SunJSSE (SSLEngine) for bench.round_trips: FOLDER, with door.example.p12 and phone-in-the-hall.example.p12
// (password "atls") in it, and ca.pem.
//
// Commands come on standard input, answers go to standard output; numbers are big-endian.
//   command: end u8, letter u8, length u32, octets    answer: letter u8, length u32, octets; "." ends the answers
//   n  a new end: "server|client PROTOCOL [auth=need|none] [size=OCTETS] [context=NAME]"
//   b  begin: a client makes its first flight         u  a record to send
//   r  received: a unit                               e  established: "PROTOCOL SUITE"
//   s  send: a message                                d  a message came
//   c  close: close_notify                            z  the end, and why
//   ?  is anybody there?
// Shape of the loop: the documentation of SSLEngine, and appendix B.2 of draft-friel-tls-atls-00.

import java.io.*;
import java.nio.ByteBuffer;
import java.security.KeyStore;
import java.util.*;
import javax.net.ssl.*;
import javax.net.ssl.SSLEngineResult.HandshakeStatus;

public class JsseEnds {
    static final Map<Integer, JsseEnds> ends = new HashMap<>();
    static final Map<String, SSLContext> contexts = new HashMap<>();
    static DataOutputStream out;
    static String folder;

    final SSLEngine engine;
    final ByteArrayOutputStream rest = new ByteArrayOutputStream();
    boolean established;

    JsseEnds(String[] words) throws Exception {
        boolean server = words[0].equals("server");
        Map<String, String> settings = new HashMap<>();
        for (int i = 2; i < words.length; i++) settings.put(words[i].split("=")[0], words[i].split("=")[1]);
        engine = context(words[1], server, settings.getOrDefault("context", "")).createSSLEngine("door", 443);
        engine.setUseClientMode(!server);
        SSLParameters parameters = engine.getSSLParameters();
        parameters.setProtocols(new String[] {words[1]});
        if (server) parameters.setNeedClientAuth(settings.getOrDefault("auth", "need").equals("need"));
        if (settings.containsKey("size")) parameters.setMaximumPacketSize(Integer.parseInt(settings.get("size")));
        engine.setSSLParameters(parameters);
    }

    public static void main(String[] args) throws Exception {
        folder = args[0];
        DataInputStream in = new DataInputStream(new BufferedInputStream(System.in));
        out = new DataOutputStream(new BufferedOutputStream(System.out));
        while (true) {
            int number = in.read();
            if (number < 0) return;
            int letter = in.readByte();
            byte[] octets = new byte[in.readInt()];
            in.readFully(octets);
            try {
                if (letter == 'n') ends.put(number, new JsseEnds(new String(octets).split(" ")));
                else if (letter != '?') ends.get(number).step(letter, octets);
            } catch (SSLException fault) {
                tell('z', String.valueOf(fault.getMessage()).getBytes());
            }
            tell('.', new byte[0]);
            out.flush();
        }
    }

    static void tell(char letter, byte[] octets) throws IOException {
        out.writeByte(letter);
        out.writeInt(octets.length);
        out.write(octets);
    }

    void step(int letter, byte[] octets) throws Exception {
        switch (letter) {
            case 'b' -> {
                engine.beginHandshake();
                go();
            }
            case 'r' -> {
                rest.write(octets);
                read();
            }
            case 's' -> wrap(ByteBuffer.wrap(octets));
            case 'c' -> {
                engine.closeOutbound();
                wrap(ByteBuffer.allocate(0));
            }
        }
    }

    /** Unwrap what is there, record by record, and do what the engine wants in between. */
    void read() throws Exception {
        ByteBuffer in = ByteBuffer.wrap(rest.toByteArray());
        rest.reset();
        while (in.hasRemaining() || engine.getHandshakeStatus() == HandshakeStatus.NEED_UNWRAP_AGAIN) {
            ByteBuffer plain = ByteBuffer.allocate(32768);
            SSLEngineResult result = engine.unwrap(in, plain);
            if (plain.position() > 0) tell('d', Arrays.copyOf(plain.array(), plain.position()));
            go(); // the end is established before what it says to that
            if (result.getStatus() == SSLEngineResult.Status.BUFFER_UNDERFLOW) break;
            if (result.getStatus() == SSLEngineResult.Status.CLOSED) {
                tell('z', "closed by peer".getBytes());
                return;
            }
        }
        if (in.hasRemaining()) rest.write(in.array(), in.position(), in.remaining());
    }

    void go() throws Exception {
        while (true) {
            switch (engine.getHandshakeStatus()) {
                case NEED_TASK -> {
                    Runnable task;
                    while ((task = engine.getDelegatedTask()) != null) task.run();
                }
                case NEED_WRAP -> wrap(ByteBuffer.allocate(0));
                default -> {
                    SSLSession session = engine.getSession();
                    if (!established && engine.getHandshakeStatus() == HandshakeStatus.NOT_HANDSHAKING
                        && !session.getCipherSuite().contains("NULL")) {
                        established = true;
                        tell('e', (session.getProtocol() + " " + session.getCipherSuite()).getBytes());
                    }
                    return;
                }
            }
        }
    }

    void wrap(ByteBuffer from) throws Exception {
        ByteBuffer record = ByteBuffer.allocate(65536);
        engine.wrap(from, record);
        if (record.position() > 0) tell('u', Arrays.copyOf(record.array(), record.position()));
    }

    static SSLContext context(String protocol, boolean server, String which) throws Exception {
        String owner = server ? "door.example" : "phone-in-the-hall.example";
        String name = owner + " " + protocol + " " + which;
        SSLContext known = contexts.get(name);
        if (known != null) return known; // its sessions are what is resumed
        char[] password = "atls".toCharArray();
        KeyStore store = KeyStore.getInstance("PKCS12");
        try (InputStream file = new FileInputStream(new File(folder, owner + ".p12"))) {
            store.load(file, password);
        }
        KeyStore trust = KeyStore.getInstance("PKCS12");
        trust.load(null, null);
        try (InputStream file = new FileInputStream(new File(folder, "ca.pem"))) {
            trust.setCertificateEntry("ca", java.security.cert.CertificateFactory.getInstance("X.509")
                .generateCertificate(file));
        }
        KeyManagerFactory keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        keys.init(store, password);
        TrustManagerFactory anchors = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        anchors.init(trust);
        SSLContext made = SSLContext.getInstance(protocol.startsWith("D") ? "DTLS" : "TLS");
        made.init(keys.getKeyManagers(), anchors.getTrustManagers(), null);
        contexts.put(name, made);
        return made;
    }
}
