// How units of layer 0 travel between an endpoint and the other end of its session. Here: by a relay's pipe.

import java.io.*;
import java.util.concurrent.*;

interface Carriage {
    byte[] NOTHING = {};

    /** Sends a unit: a datagram of DTLS, or a piece of a TLS stream. */
    void send(byte[] unit) throws Exception;

    /** The other end's next unit; NOTHING if none comes within so many milliseconds; null: the session is over. */
    byte[] receive(long milliseconds) throws Exception;

    /** Ends the session, after what was sent. */
    void close() throws Exception;

    /** Standard input and output, each unit after its length in four octets; length 0 is the end. */
    class Pipe implements Carriage {
        private final BlockingQueue<byte[]> came = new LinkedBlockingQueue<>();
        private final DataOutputStream out = new DataOutputStream(new BufferedOutputStream(System.out));
        private boolean over;

        Pipe() {
            Thread reader = new Thread(() -> {
                try (DataInputStream in = new DataInputStream(System.in)) {
                    for (int size = in.readInt(); size > 0; size = in.readInt()) came.add(in.readNBytes(size));
                } catch (IOException end) {
                    // as good as length 0
                }
                came.add(NOTHING);
            });
            reader.setDaemon(true);
            reader.start();
        }

        public void send(byte[] unit) throws IOException {
            out.writeInt(unit.length);
            out.write(unit);
            out.flush();
        }

        public byte[] receive(long milliseconds) throws InterruptedException {
            byte[] unit = over ? NOTHING : came.poll(milliseconds, TimeUnit.MILLISECONDS);
            if (unit == null) return NOTHING;
            over |= unit.length == 0;
            return over ? null : unit;
        }

        public void close() throws IOException {
            send(NOTHING);
        }
    }
}
