// Files, RandomAccessFile, FileChannel with a map, walks, children.
import java.io.*;
import java.nio.*;
import java.nio.channels.*;
import java.nio.file.*;
import java.util.*;

public class Job {
  public static void main(String[] a) throws Exception {
    Path d = Path.of(System.getenv("D"));
    Files.writeString(d.resolve("s"), "hello\n");
    Files.write(d.resolve("s"), List.of("more"), StandardOpenOption.APPEND);
    System.out.print(Files.readString(d.resolve("s")));
    try (RandomAccessFile f = new RandomAccessFile(d.resolve("r").toFile(), "rw")) {
      f.seek(100);
      f.writeInt(42);
      f.seek(100);
      System.out.println(f.readInt() + " " + f.length());
      f.setLength(200);
      f.getFD().sync();
    }
    try (FileChannel c = FileChannel.open(d.resolve("m"), StandardOpenOption.CREATE,
        StandardOpenOption.READ, StandardOpenOption.WRITE)) {
      MappedByteBuffer b = c.map(FileChannel.MapMode.READ_WRITE, 0, 8192);
      for (int i = 0; i < 8192; i++) b.put((byte) i);
      b.force();
    }
    System.out.println(Files.size(d.resolve("m")));
    Files.createDirectories(d.resolve("x/y"));
    Files.copy(d.resolve("m"), d.resolve("x/y/c"));
    Files.move(d.resolve("s"), d.resolve("x/s"));
    try (var w = Files.walk(d)) {
      w.map(p -> d.relativize(p).toString()).sorted().forEach(System.out::println);
    }
    try (PrintWriter p = new PrintWriter(new FileWriter(d.resolve("p").toFile()))) {
      for (int i = 0; i < 10000; i++) p.println(i);
    }
    try (BufferedReader r = Files.newBufferedReader(d.resolve("p"))) {
      System.out.println(r.lines().count());
    }
    try {
      Files.delete(d.resolve("none"));
    } catch (NoSuchFileException e) {
      System.out.println("none");
    }
    Process p = new ProcessBuilder("sh", "-c", "echo child")
        .redirectOutput(d.resolve("child").toFile()).start();
    System.out.println(p.waitFor());
  }
}
